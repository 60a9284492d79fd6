"""How an operation uses the machine: its cores, the BLAS library, its memory.

`minisd.fast` says *what* is computed in which order; this package knows cores, the BLAS library and
memory, and nothing of images or networks. Its ideas can be read one by one:

1. **Slabs on threads** (`in_slabs`). An operation is cut into slabs of image rows, and Python
   threads take one slab after the other: NumPy lets go of the interpreter lock while it computes. A
   slab is small enough to stay in a core's cache while several operations run over it. Where an
   operation reads rows around its own, a thread's slabs lie side by side
   (`minisd.fast.layout.in_bands`).
2. **One BLAS thread each.** Inside `in_slabs` the BLAS library is held to one thread, so that two
   levels of threads do not fight for the cores.
3. **Products in pieces** (`minisd.machine.products`). A long, thin matrix product is cut into
   pieces for which OpenBLAS has a faster kernel.
4. **Memory kept** (`minisd.machine.memory`). Fresh memory costs a page fault per page on first
   touch. Large arrays come from a pool, aligned to cache lines, and go back to it when nobody holds
   them.
5. **Few calls.** A thread that returns from NumPy needs the interpreter lock. While another thread
   has it, the first is put to sleep, and waking up takes longer than many a call. So operations do
   much in each call, and skip what is done already, such as zeros that a buffer has.

**The same bits at any thread count.** What a slab computes for one of its rows does not depend on
which other rows are in the slab. A sum over rows has one number a row, and which of them meet first
depends on the rows' numbers alone. So the result depends neither on the cut nor on which thread
computed which slab.

**What changes in the process, and when it is undone.** While `in_slabs` or `one_blas_thread` run,
in any thread, the BLAS libraries are at one thread; when the last of them ends they get back what
they had. NumPy's buffer size is smaller inside `in_slabs`, in the calling context only. The worker
threads sleep between operations; the pool keeps as much memory as was ever in use at once.
`release` ends the threads and frees the memory; it is called at the end of `threads`. After a
``fork`` the child begins without workers and makes its own. On a GPU none of this applies: CuPy's
arrays are one slab, one product, and CuPy's own memory.
"""

from minisd.machine.blas import one_blas_thread
from minisd.machine.memory import empty, framed, scratch, zeros
from minisd.machine.products import (
    additions_pay,
    mean_over,
    products_with_transpose,
    run_dots,
    run_sums,
    sum_of_products,
    sum_over,
    sum_over_rows,
)
from minisd.machine.slabs import (
    at_most,
    available_cores,
    blas_description,
    in_slabs,
    num_threads,
    release,
    rows_per_slab,
    set_threads,
    threads,
)

__all__ = [
    "additions_pay",
    "at_most",
    "available_cores",
    "blas_description",
    "empty",
    "framed",
    "in_slabs",
    "mean_over",
    "num_threads",
    "one_blas_thread",
    "products_with_transpose",
    "release",
    "rows_per_slab",
    "run_dots",
    "run_sums",
    "scratch",
    "set_threads",
    "sum_of_products",
    "sum_over",
    "sum_over_rows",
    "threads",
    "zeros",
]
