"""Kernels that an open block launches on a GPU: counted in `tests/fast/test_gpu_counts.py`.

More is a step back; fewer is welcome, and belongs here, in ``tutorials/site/gpu.md`` and in
tutorial 9.
"""

FORWARD, BACKWARD = 29, 34
