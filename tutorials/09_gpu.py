# %% [markdown]
# # 9. The same code on a GPU
#
# A program may be right and yet leave its GPU idle most of the time. The reason is often a single
# line that asks for a number: a loss that is printed, an `if` on an array. If you know what makes a
# program wait, you can find that line by reading.
#
# **You will learn** to write a function once for NumPy and for CuPy, to see where a program waits
# for its GPU and what that costs, and why a gate that is drawn on the host costs nothing.
#
# **You need** tutorials [2](02_linear_softmax.py) (softmax), [6](06_stochastic_depth.py) (gates)
# and [7](07_training.py) (the training loop). You do not need a GPU.
#
# **Time**: 45 minutes.
#
# CuPy is a library with NumPy's functions whose arrays live in a GPU's memory. So moving a program
# to a GPU looks like a matter of names, and for the mathematics it is. What changes is time. NumPy
# returns when the work is done. CuPy returns when the work has been *ordered*, and Python runs
# ahead of the GPU until it asks for a number. This tutorial is about the asking. Most readers have
# no GPU, so we build one: a model of a few lines with a clock of its own, in which every wait can
# be counted. Its times are those of a model, not measurements. The last section before the
# exercises runs on a real GPU if there is one, and says what it skips if there is none.

# %%
import time
import timeit
from collections import Counter

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minisd import SGD, backend, gpu, linear_decay, ops, resnet
from minisd.cli.gpu_check import difference, trained
from minisd.data.batches import Augmentation
from minisd.figures import INK, LOSS, TEST, VALIDATION, new_figure, tidy
from minisd.stochastic_depth import sample_gates
from minisd.train import train_step
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
GPU = gpu.gpu_available()
rng = np.random.default_rng(9)

# %% [markdown]
# ## One code, two libraries
#
# Here is a softmax. It asks its argument which library it belongs to, calls that library `xp`, and
# from there on is the softmax of tutorial 2. For the asking, a table from an array's type to its
# library will do. So far it has one line.

# %%
LIBRARY = {np.ndarray: np}


def array_module(*arrays):
    """The library that all of these arrays belong to."""
    found = {LIBRARY[type(array)] for array in arrays}
    if len(found) > 1:
        raise TypeError("arrays of two libraries are mixed in one operation")
    return found.pop()


def softmax(logits):
    xp = array_module(logits)
    e = xp.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


logits, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
_, dlogits = ops.softmax_cross_entropy(logits, labels)  # (p - onehot) / N
p = 6 * dlogits + np.eye(4)[labels]
claim("on NumPy it is the library's softmax", np.allclose(softmax(logits), p, rtol=1e-12))

# %% [markdown]
# There are two shorter ways. One may import CuPy under the name `np`. That ties the file to one
# library: it cannot run without a GPU, nor be compared with NumPy in one process, which is the best
# test there is. Or one has a global switch, `use_gpu = True`. Then what a function does depends on
# something that is not among its arguments, and somebody will set it halfway through. The array
# knows where it lives. Ask it, and there is nothing to forget.
#
# Arrays of two libraries in one operation are an error. One could copy one of them to the other's
# place. But an unasked copy, inside a loop, is the kind of cost that this tutorial is about.
# `minisd.backend.array_module` does as ours does, and needs no table: it goes by the name of the
# module that defines the array's type. So without a GPU an impostor of that name shows what it
# says.

# %%
there = backend.to_device(p, "cuda") if GPU else type("ndarray", (), {"__module__": "cupy"})()
claim("the library's finds NumPy, too", backend.array_module(p, logits) is array_module(p, logits))
told = ""
try:
    backend.array_module(p, there)
except TypeError as error:
    told = str(error)
claim(f"and refuses a mixture: {told}", "mixed" in told)

# %% [markdown]
# ## A device with a clock of its own
#
# To a program, a GPU is a queue. The host (Python, on the CPU) *launches* kernels, functions that
# run on the device such as the sum of two arrays: it puts them in the queue. The device takes them
# out one after the other. There are three rules:
#
# - Launching costs the host some microseconds, whatever the kernel does.
# - A kernel starts when it has been launched and the one before it is done.
# - To read a number, the host waits until the queue is empty, and then for the number to arrive.
#
# The model keeps two numbers, the host's clock and the moment at which the device will be done.
# (Its queue is endless. A real one is not, and a host too far ahead is made to wait, which costs
# nothing while the device is busy.) The constants are assumptions, of the order that one meets
# with CuPy and a data-centre GPU.

# %%
LAUNCH = 8.0  # microseconds of the host for each kernel, Python's share included
READ_BACK = 20.0  # microseconds from the device's last kernel until the host has a number
LATENCY = 10.0  # microseconds of a transfer to the device, before its first byte
BUS = 25e3  # bytes a microsecond after that (25 GB/s)


class Device:
    """A host and a device in virtual time, in microseconds."""

    def __init__(self):
        self.host = self.done = 0.0
        self.spans = {"host": [], "device": []}  # the timeline: (what, start, end)
        self.counts = Counter()

    def work(self, duration, what):
        """The host is busy."""
        self._note("host", what, self.host, self.host + duration)
        self.host += duration

    def launch(self, duration, what):
        self.work(LAUNCH, "launching")
        start = max(self.host, self.done)
        self._note("device", what, start, start + duration)
        self.done = start + duration
        self.counts["launches"] += 1

    def send(self, num_bytes):
        """A transfer to the device stands in the same queue."""
        self.launch(LATENCY + num_bytes / BUS, "transfer")
        self.counts.update(transfers=1, bytes=num_bytes)

    def wait(self):
        answer = max(self.host, self.done) + READ_BACK
        self._note("host", "waiting", self.host, answer)
        self.host = answer
        self.counts["waits"] += 1

    def _note(self, who, what, start, end):
        spans = self.spans[who]
        if spans and spans[-1][0] == what and spans[-1][2] == start:
            start = spans.pop()[1]  # two of a kind, without a gap, are drawn as one
        spans.append((what, start, end))

    def busy(self, who):
        """For how long the host or the device worked. To wait is not to work."""
        return sum(end - start for what, start, end in self.spans[who] if what != "waiting")

    @property
    def time(self):
        return max(self.host, self.done)


# %% [markdown]
# How long does a program take? Let $H$ be the time that the host works, $D$ that of the device,
# $W$ the number of waits and $r$ the time of a read-back. If both are done at $T$, then
#
# $$\max(H, D) \;\le\; T \;\le\; H + D + rW .$$
#
# Left: nobody is done before all of the work is. Right: take any moment before $T$. The host works,
# or the device works, or a number is on its way back, and there is no fourth case. For the host is
# idle only when it waits or has come to its end. At its end, the device must still be working, or
# all would be over. When it waits, the device works off its queue, or the queue is empty and the
# number is on its way.
#
# The two sides are the two ways to run a GPU. On the left, the shorter of the two is hidden behind
# the longer. On the right they take turns. **A wait ends the overlap**: the device runs dry, and
# idles until the host has launched something new. As $H + D \le 2 \max(H, D)$, the loss of all
# overlap costs a factor of two and no more. What can cost more is $rW$.
#
# We check both bounds on random programs; and, so that the check has something to catch, with a
# device that does not wait for the kernel before.


# %%
class Impatient(Device):
    """Wrong: it starts a kernel when it is launched, whatever it is doing."""

    def launch(self, duration, what):
        before, self.done = self.done, 0.0
        super().launch(duration, what)
        self.done = max(before, self.done)


def bounds_hold(device):
    H, D = device.busy("host"), device.busy("device")
    upper = H + D + READ_BACK * device.counts["waits"]
    return max(H, D) * (1 - 1e-9) <= device.time <= upper * (1 + 1e-9)


held = {Device: 0, Impatient: 0}
for kind in 300 * list(held):
    device = kind()
    for action in rng.choice(["launch", "work", "wait"], 40, p=[0.7, 0.2, 0.1]):
        arguments = () if action == "wait" else (rng.exponential(40), "something")
        getattr(device, action)(*arguments)
    held[kind] += bounds_hold(device)
claim("both bounds hold for 300 random programs", held[Device] == 300)
claim(f"an impatient device breaks one of them in {300 - held[Impatient]}", held[Impatient] < 200)

# %% [markdown]
# ## A library for the device
#
# Now the device gets a library that is to NumPy what CuPy is. `toy.exp(x)` launches one kernel and
# returns an array that lives *there*. (Its numbers come from NumPy, at once. In virtual time they
# are not there yet, and whoever looks at them waits.)


# %%
class Toy:
    """NumPy's functions, each of them one short kernel of the device."""

    device = Device()

    def __getattr__(self, name):
        def function(*arguments, **options):
            if any(isinstance(argument, np.ndarray) for argument in arguments):
                raise TypeError(f"{name}: an array of the host among arrays of the device")
            numbers = [a._numbers if isinstance(a, There) else a for a in arguments]
            self.device.launch(3.0, name)
            return There(getattr(np, name)(*numbers, **options))

        return function

    def asarray(self, array):
        self.device.send(array.nbytes)
        return There(array)


class There(NDArrayOperatorsMixin):
    """An array of the device. It can be computed with, and asked for."""

    def __init__(self, numbers):
        self._numbers = np.asarray(numbers)
        self.shape, self.dtype = self._numbers.shape, self._numbers.dtype

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return getattr(toy, ufunc.__name__)(*inputs, **options)  # + - * / @ > and so on

    def __array__(self, *_, **__):
        raise TypeError("an array of the device comes to the host when asked to: .get()")

    def __getitem__(self, index):
        return There(self._numbers[index])  # a view: no kernel

    def sum(self, **options):
        return toy.sum(self, **options)

    def max(self, **options):
        return toy.max(self, **options)

    def astype(self, dtype):
        return toy.array(self, dtype=dtype)

    def get(self):
        toy.device.wait()
        return self._numbers

    def __bool__(self):
        return bool(self.get())

    def __float__(self):
        return float(self.get())


toy = Toy()
LIBRARY[There] = toy
p = softmax(There(logits))
counts = dict(toy.device.counts)
claim(f"softmax is {counts['launches']} kernels and no wait", counts == {"launches": 5})
claim("with NumPy's numbers, to the bit", np.array_equal(p.get(), softmax(logits)))
claim("and to look at them was a wait", toy.device.counts["waits"] == 1)

# %% [markdown]
# ## Whom an `if` asks
#
# A network with gates, as small as can be, is $h \leftarrow h + b_l \max(0, h w_l)$ for
# $l = 1, \dots, L$, with a row of $h$ for each image. Read the line `if gate:`. If the gates are a
# list of Python's, as `minisd.draw_gates` returns, it is an `if`. If somebody drew them on the
# device, the very same line asks the device a question, and waits for the answer. Nothing in the
# code says so.


# %%
def gated(h, weights, gates):
    xp = array_module(h)
    for w, gate in zip(weights, gates, strict=True):
        if gate:
            h = h + xp.maximum(h @ w, 0)
    return h


L = 12
gates = sample_gates(linear_decay(L, 0.5), rng)
h, weights = rng.standard_normal((5, 8)), rng.standard_normal((L, 8, 8)) / 8
waits = {}
for where, given in {"host": gates, "device": There(gates)}.items():
    toy.device = Device()  # counts from zero
    y = gated(There(h), There(weights), given)
    waits[where] = toy.device.counts["waits"]
    claim(f"gates on the {where}: NumPy's numbers", np.allclose(y.get(), gated(h, weights, gates)))
claim(f"on the host: {waits['host']} waits", waits["host"] == 0)
claim(f"on the device: {waits['device']}, one for each block", waits["device"] == L)

# %% [markdown]
# One could avoid these waits by computing every branch and multiplying it by its gate, a *mask*.
# Then nobody waits, but nothing is saved either. So gates on the device are a choice of two evils.
# On the host they have neither, and to draw them takes next to nothing. That much can be measured
# here: the gates of a ResNet-110, against the time in which by our assumption its kernels are
# launched. How many those are, [On a GPU](site/gpu.md) says; they were counted on an emulated
# device. An open block launches 29 kernels forward and 34 backward; a matrix product forward, and
# two backward, for each of its two convolutions; and 6 more that move its weights. A closed block
# launches 4 and 2, those of the ReLU after its shortcut. (That is with `--dropped freeze`: its
# weights stay as they are.)

# %%
OPEN, CLOSED, UNFUSED = (29, 34), (4, 2), (115, 145)  # forward, backward; the last is for later
PRODUCTS, OPTIMISER = (2, 4), 6

survival = linear_decay(54, 0.5)
num_open = sum(sample_gates(survival, rng))
drawing = 1e6 * min(timeit.repeat(lambda: sample_gates(survival, rng), number=1, repeat=50))
launching = LAUNCH * (num_open * sum((*OPEN, *PRODUCTS, OPTIMISER)) + (54 - num_open) * sum(CLOSED))
print(f"{drawing:.0f} us to draw 54 gates, measured; {launching:.0f} us to launch, in the model")
claim("drawing is less than a twentieth of launching", drawing < launching / 20)

# %% [markdown]
# ## A training step in time
#
# Now the device gets the training step of a ResNet-20 for CIFAR-10: $L = 9$ blocks in three groups.
# A kernel takes a moment to start, and then as long as its bytes or its operations need. From group
# to group the channels double and the image's area is quartered. So an elementwise kernel has half
# the numbers of the group before, while the product of a convolution has as many operations as
# before, $2 \cdot 9 \cdot 16 \cdot 16$ for each of $32 \cdot 32$ pixels and $N$ images. Between two
# steps the host picks the next batch, draws the gates and keeps its books.

# %%
FLOOR = 2.0  # microseconds of the device for a kernel, however small
MEMORY = 2e6  # bytes of its memory a microsecond (2 TB/s)
RATE = 1e7  # operations a microsecond (10 TFLOP/s)
PREPARE = 1000.0  # microseconds of the host between two steps


def training_step(device, gates, N, *, ask="", masked=False, counts=OPEN):
    """One step, kernel by kernel; `ask` says when the host wants a number in between."""
    device.work(PREPARE, "preparing")
    device.send(N * (3 * 32 * 32 + 8 + 2 * 8 + 1))  # images as bytes, labels, shifts, flips
    L = len(gates)
    for way, name in enumerate(("forward", "backward")):
        for block in range(L) if name == "forward" else reversed(range(L)):
            if ask == "gates" and name == "forward":
                device.wait()
            numbers = N * 16 * 32 * 32 / 2 ** (3 * block // L)
            small = FLOOR + 2 * 4 * numbers / MEMORY  # reads float32 and writes it
            product = FLOOR + 2 * 9 * 16 * 16 * 32 * 32 * N / RATE
            is_open = gates[block] or masked
            kernels = [small] * (counts if is_open else CLOSED)[way]
            for number in range(PRODUCTS[way] if is_open else 0):  # spread among the others
                kernels.insert(number * len(kernels) // PRODUCTS[way], product)
            for duration in kernels:
                device.launch(duration, name)
                if ask == "kernels":
                    device.wait()
    for _ in range(OPTIMISER * (L if masked else sum(gates))):
        device.launch(FLOOR, "optimiser")


def run(steps, N, *, look_every=None, **options):
    """Several steps, with the same gates whatever the options."""
    gate_rng, device = np.random.default_rng(1), Device()
    for step in range(1, steps + 1):
        training_step(device, sample_gates(linear_decay(9, 0.5), gate_rng), N, **options)
        if look_every and step % look_every == 0:
            device.wait()  # for the loss
    return device


WAYS = {
    "nobody asks": {},
    "the host asks for the loss of every step": {"look_every": 1},
    "it asks for every gate": {"ask": "gates"},
    "it asks after every kernel": {"ask": "kernels"},
}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
COLOURS = {
    "preparing": "#d9a441", "launching": "#a3a3a3", "waiting": TEST,
    "transfer": INK, "forward": VALIDATION, "backward": LOSS, "optimiser": "#8e6bb0",
}  # fmt: skip
END = 13  # milliseconds
figure = new_figure(9, 6.4)
panels = figure.subplots(len(WAYS), sharex=True)
for axes, (title, options) in zip(panels, WAYS.items(), strict=True):
    device = run(2, 128, **options)
    for row, who in enumerate(("device", "host")):
        spans = [span for span in device.spans[who] if span[1] < END * 1e3]
        bars = [(start / 1e3, (end - start) / 1e3) for _, start, end in spans]
        colours = [COLOURS[what] for what, _, _ in spans]
        axes.broken_barh(bars, (row - 0.36, 0.72), color=colours, lw=0)
    axes.axvline(device.time / 1e3, color=INK, lw=1)
    late = f", and is done after {device.time / 1e3:.0f} ms" if device.time > END * 1e3 else ""
    axes.set_title(title + late, loc="left", fontsize=10)
    axes.set_yticks([0, 1], ["device", "host"])
    tidy(axes)
    axes.grid(False, axis="y")
panels[-1].set_xlim(0, END)
panels[-1].set_xlabel("milliseconds of two training steps (a model, not a measurement)")
handles = [panels[0].barh(0, 0, color=colour, label=what) for what, colour in COLOURS.items()]
figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
show(
    figure,
    "09_timeline",
    "Two training steps of a ResNet-20 in the model: who works when",
    alt="Four timelines of host and device. If nobody asks, the device is busy from the first "
    "launch to the end. The more the host asks, the more it waits and the more gaps the "
    "device has; asking after every kernel takes several times as long.",
)

# %% [markdown]
# First panel: the device is the slower of the two, the host gains a lead, and it prepares the next
# step while the device still works on this one. Once it has begun, the device never idles. Second:
# the host spends its lead on waiting for the loss, and then the device idles while the host
# prepares. Third: a gap before every block of the forward. Last: somebody is careful and looks
# after every kernel of the forward and the backward whether its result is finite. The first is the
# left side of our inequality, the last is the right one: the two take turns, and $rW$ is the
# largest of the three terms.
#
# The picture has two steps; the table has a hundred.

# %%
runs = {way: run(100, 128, **options) for way, options in WAYS.items()}
runs["it asks for the losses every 50 steps"] = run(100, 128, look_every=50)
print("us a step   host   device   waits in 100 steps")
for way, device in runs.items():
    numbers = device.time / 100, device.busy("host") / 100, device.busy("device") / 100
    print("{:9.0f}{:7.0f}{:9.0f}".format(*numbers), f"{device.counts['waits']:7}   {way}")
claim("all are within the bounds", all(map(bounds_hold, runs.values())))
free, every_loss, every_gate, every_kernel, at_50 = (device.time / 100 for device in runs.values())
H, D = numbers[1:]  # the same for all
claim("nobody asks: a step takes what the device needs, to 2 %", free < 1.02 * D)
claim(
    f"every loss costs {every_loss - free:.0f} us a step, a read-back and what the host prepares",
    abs(every_loss - free - READ_BACK - PREPARE - LAUNCH) < 50,
)
extra = every_gate / free - 1
claim(f"every gate {every_gate - free:.0f} us, {extra:.0%} of a step", 0.03 < extra < 0.1)
claim(f"a look every 50 steps {at_50 - free:.0f} us", at_50 - free < (every_loss - free) / 40)
rW = READ_BACK * runs["it asks after every kernel"].counts["waits"] / 100
claim("after every kernel: H + D + rW, to 2 %", every_kernel > 0.98 * (H + D + rW))
claim(f"{every_kernel / free:.1f} times as long; rW is the largest of the three", rW > max(H, D))

# %% [markdown]
# Hence three habits of the library. Gates are drawn on the host. Losses stay on the device and are
# looked at every 50 steps (`minisd/runs/pending_losses.py`). And no operation looks at its result:
# on a GPU a loss that is not finite is noticed late, and the layer it came from is not named, while
# on a CPU, where looking is free, it is named at once.
#
# Notice what the table does not say. A single wait is cheap. The one for the loss is dear because
# of what the host does next, which was hidden and is not any more. Those for the gates add up,
# as there are as many as blocks. A wait in a validation once an epoch is nobody's concern.
#
# ## Bound by launches
#
# When nobody asks, a step takes $\max(H, D)$. $H$ is 8 microseconds for each launch and what the
# host prepares; it **does not know the batch size**. $D$ grows with it. So there is a batch size
# below which a GPU is *launch-bound*: it idles between kernels, and a larger batch takes no longer.
# Above, it is bound by its memory and its arithmetic.
#
# A launch-bound program is helped by launching less. Elementwise mathematics such as `(x - mean) /
# std * gamma + beta` is four kernels in CuPy as it stands, each of which reads its input from
# memory and writes its output there. *Fused* it is one kernel that reads and writes once. In minisd
# such a function is written once and marked `@one_kernel` (`minisd/backend.py`). NumPy runs it as
# it stands, for CuPy it becomes one kernel. Without, an open block launched 115 and 145 kernels
# instead of 29 and 34 ([the same page](site/gpu.md)). What is that worth in the model?

# %%
sizes = np.array([8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512])
KINDS = {
    "not fused, gates on the host": {"counts": UNFUSED},
    "fused, gates are a mask": {"masked": True},
    "fused, gates on the host": {},
}
T = {}
for kind, options in KINDS.items():
    devices = [run(5, N, **options) for N in sizes]
    T[kind] = np.array([device.time / 5e3 for device in devices])
D = np.array([device.busy("device") / 5e3 for device in devices])

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7.5, 4.4)
axes = figure.subplots()
for (kind, times), colour in zip(T.items(), (TEST, LOSS, VALIDATION), strict=True):
    axes.loglog(sizes, times, ".-", color=colour, lw=1.6, label=kind)
axes.loglog(sizes, D, ":", color=INK, lw=1.2, label="the device's part of the last")
axes.set_xticks(sizes[::2], sizes[::2])
axes.set_yticks([1, 2, 5, 10, 20, 50], [1, 2, 5, 10, 20, 50])
axes.minorticks_off()
axes.set_xlabel("batch size N")
axes.set_ylabel("milliseconds a step (a model)")
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "09_launch_bound",
    "Below a batch of 100 this step is bound by its launches",
    alt="Milliseconds a step by batch size, both logarithmic. The three lines are level up to "
    "about 100 images and then rise together with the device's part. Fused with gates on "
    "the host is lowest, not fused highest.",
)

# %%
unfused, mask, fused = T.values()
claim("a batch of 32 takes no longer than one of 8", fused[sizes == 32][0] < 1.01 * fused[0])
claim("and the device works for less than half of it", D[sizes == 32][0] < fused[0] / 2)
claim("at 512 it works all the time, but for 2 %", fused[-1] < 1.02 * D[-1])
gain = unfused / fused
claim(f"fusing makes a step {gain.min():.1f} to {gain.max():.1f} times faster", gain.min() > 2)
more = mask / fused
claim(f"with a mask it takes {more.min():.2f} to {more.max():.2f} times as long", more.min() > 1.25)

# %% [markdown]
# The last claim holds at every size. Stochastic depth with gates on the host saves time whether a
# program is launch-bound or not, because a closed block is neither computed nor launched.
#
# ## What travels
#
# A transfer of $n$ bytes takes $t_0 + n / \beta$, latency and bandwidth. With our numbers
# $t_0 \beta$ is 250 kB: what is smaller costs little but the latency. So small arrays should travel
# together, and large ones should be made small. There are two ways to send 128 images of CIFAR. The
# host normalises, shifts and flips them, and sends floats and labels. Or it sends them as they are
# stored, a byte for a pixel, with labels, shifts and flips, and the device does the rest.
# `minisd/data/batches.py` does the latter, with all four packed into one array of bytes
# (`minisd.backend.to_device_together`), from which the device takes each as a view. (Each begins at
# a multiple of 256 bytes there. The few bytes in between are left out here.)

# %%
stored = rng.integers(0, 256, (128, 3, 32, 32), dtype=np.uint8)
labels = rng.integers(0, 10, 128)
shifts, flips = Augmentation(4, True).draw(128, rng)
small = [stored.nbytes, labels.nbytes, shifts.nbytes, flips.nbytes]
found = []
for way, sizes_sent in {
    "floats, labels": [stored.astype(np.float32).nbytes, labels.nbytes],
    "bytes, labels, shifts, flips": small,
    "the same four, packed": [sum(small)],
}.items():
    device = Device()
    for num_bytes in sizes_sent:
        device.send(num_bytes)
    found.append((device.counts["bytes"], device.busy("device")))
    print(f"{len(sizes_sent)} transfers {found[-1][0]:8} bytes {found[-1][1]:4.0f} us  {way}")
floats, one_by_one, packed = found
claim(f"{floats[0] / packed[0]:.2f} times fewer bytes", 3.9 < floats[0] / packed[0] < 4)
claim("packing saves three latencies", np.isclose(one_by_one[1] - packed[1], 3 * LATENCY))

# %% [markdown]
# Random numbers are drawn on the host, all of them: weights, shuffles, shifts, flips and gates.
# CuPy has generators of its own, but from the same seed they draw other numbers than NumPy's. Drawn
# on the host, the same seed gives the same network with the same gates on either device, and so a
# GPU can be compared with NumPy number by number.
#
# ## On a real one
#
# Here is that comparison. `minisd.cli.gpu_check.trained` trains a small network with gates on the
# device that it is told, and returns all of its numbers, and the gates. `difference` returns the
# largest difference, as a share of the largest number of each array. A GPU adds in another order
# than a CPU, so there must be a tolerance, but not one that other gates would pass. That can be
# seen without a GPU.

# %%
TOLERANCE = 1e-3  # float32, after a few steps
steps = 3 if QUICK else 10
on_cpu, cpu_gates = trained("cpu", np.float32, steps=steps)
other, other_gates = trained("cpu", np.float32, steps=steps, survival=linear_decay(6, 0.2))
del on_cpu["logits"]  # at test time survival_prob weights the branches, whatever the gates were
claim("another survival_prob draws other gates", other_gates != cpu_gates)
apart = difference(other, on_cpu)
claim(f"and trains to other numbers ({apart:.0e})", apart > 10 * TOLERANCE)

# %% [markdown]
# If there is a GPU, its steps can be timed, too. The clock may be read only when the device is
# done, before and after: `backend.synchronize` waits for that. Without it one measures the
# launching and takes it for the step. (The cell below has been run on an emulated device, which
# knows no asynchrony; whether on a real one, [On a GPU](site/gpu.md) says.)

# %%
device, why = gpu.resolve_device("auto")
print(f"{device} ({why})")
if GPU:
    logits_there = backend.to_device(logits, "cuda")
    LIBRARY[type(logits_there)] = backend.array_module(logits_there)
    p = backend.to_numpy(softmax(logits_there))
    claim("our softmax runs there, with NumPy's numbers", np.allclose(p, softmax(logits)))
    on_gpu, gpu_gates = trained("cuda", np.float32, steps=steps)
    claim("the same seed draws the same gates", gpu_gates == cpu_gates)
    apart = difference(on_gpu, on_cpu)
    claim(f"and trains to the same numbers, up to rounding ({apart:.0e})", apart < TOLERANCE)

    depth, N, size = (8, 2, 8) if QUICK else (20, 128, 32)
    model = resnet(depth, rng=np.random.default_rng(0)).to("cuda")
    optimizer = SGD(model, 0.05)
    images = rng.standard_normal((N, 3, size, size)).astype(np.float32)
    images, labels = (backend.to_device(array, "cuda") for array in (images, labels[:N]))
    train_step(model, optimizer, images, labels)  # compiles the kernels
    launched, done = [], []
    for _ in range(2 if QUICK else 10):
        backend.synchronize("cuda")
        start = time.perf_counter()
        train_step(model, optimizer, images, labels, wait=False)
        launched.append(time.perf_counter() - start)
        backend.synchronize("cuda")
        done.append(time.perf_counter() - start)
    print(f"a step: launched after {1e3 * min(launched):.2f} ms, done after {1e3 * min(done):.2f}")
    print("If the two are about equal, the step is bound by its launches.")
else:
    print("There is no GPU here. So it was not shown that our softmax runs on one, nor that the")
    print("same training ends at the same numbers there, nor how long its steps take.")

# %% [markdown]
# ## Exercises
#
# Write the function, run the cell, and it tells you whether you are right. Solutions are in
# `solutions/09_gpu.py`. In a shell, `--exercise 1` runs the first one alone. The toy device stands
# in for a GPU, and counts.
#
# **1.** `noisy_on_numpy` adds noise to images of NumPy. Write `noisy`, which adds it wherever the
# images are: the same noise from the same seed, with one transfer of no more bytes than needed, and
# no wait.


# %%
def noisy_on_numpy(images, rng, scale):
    noise = rng.standard_normal(images.shape)
    return np.clip(images + scale * noise, 0, 1).astype(images.dtype)


def noisy(images, rng, scale):
    raise NotImplementedError


def check(noisy):
    images = np.random.default_rng(91).random((2, 1, 8, 8)).astype(np.float32)
    for scale in (0.1, 0.5):
        expected = noisy_on_numpy(images, np.random.default_rng(1), scale)
        ours = noisy.returning(images=images)(images, np.random.default_rng(1), scale)
        assert np.allclose(ours, expected, atol=1e-6), "on NumPy it must be what it was"
        assert ours.dtype == np.float32, f"the images became {ours.dtype}"
        toy.device = Device()
        there = noisy.returning(images=There)
        found, counts = there(There(images), np.random.default_rng(1), scale), toy.device.counts
        assert counts["waits"] == 0, f"{counts['waits']} waits; none is needed"
        assert counts["transfers"] == 1, f"{counts['transfers']} transfers; only the noise travels"
        assert counts["bytes"] == images.nbytes, f"{counts['bytes']} bytes; {images.nbytes} will do"
        assert found.dtype == np.float32, f"the images became {found.dtype}"
        assert np.allclose(found.get(), expected, atol=1e-6), "there it must be the same noise"


exercise(1, noisy, check)

# %% [markdown]
# **2.** This update clips its gradient, and spares itself the work if the gradient is zero. It
# waits twice. Find out where, and write `clipped_update`, which gives the same weights and never
# waits.


# %%
def waits_twice(w, dw, lr, limit):
    xp = array_module(w, dw)
    norm = xp.sqrt((dw * dw).sum())
    if norm > 0:
        w = w - lr * limit / max(norm, limit) * dw
    return w


w, dw = rng.standard_normal((2, 3, 4))
toy.device = Device()
waits_twice(There(w), There(dw), 0.1, 1.0)
claim("it waits twice", toy.device.counts["waits"] == 2)


def clipped_update(w, dw, lr, limit):
    raise NotImplementedError


def check(clipped_update):
    w, dw = np.random.default_rng(92).standard_normal((2, 3, 4))
    for gradient, lr, limit in (
        (dw, 0.1, 1.0),
        (dw / 100, 0.1, 1.0),
        (0 * dw, 0.1, 1.0),
        (dw, 2.0, 0.3),
    ):
        expected = waits_twice(w, gradient, lr, limit)
        weights = clipped_update.returning(w=w)(w, gradient, lr, limit)
        assert np.allclose(weights, expected), (
            f"a norm of {np.linalg.norm(gradient):.2f}: other weights"
        )
        toy.device = Device()
        found = clipped_update.returning(w=There)(There(w), There(gradient), lr, limit)
        waits = toy.device.counts["waits"]
        assert waits == 0, f"it waited {waits} times"
        assert np.allclose(found.get(), expected), "other weights on the device"


exercise(2, clipped_update, check)

# %% [markdown]
# **3.** A second thread of the host loads batches ahead of the training. It fills one buffer after
# the other. A buffer is taken from the moment its loading begins until its step is done. Given how
# long each batch takes to load and each step to run, write `finish_times(load, step, buffers)`,
# which returns a list: when each step is done, from 0 on. What does a second buffer gain, and when
# does a third gain anything?


# %%
def finish_times(load, step, buffers):
    raise NotImplementedError


def check(finish_times):
    yours = finish_times.returning(times=list)
    load, step = [1, 1, 6, 6], [4, 4, 4, 4]
    for buffers, expected in {1: [5, 10, 20, 30], 2: [5, 9, 15, 21], 3: [5, 9, 13, 18]}.items():
        found = list(yours(load, step, buffers))
        assert found == expected, f"{buffers} buffers: steps end at {expected}, not {found}"
    for buffers, end in ((1, 50 * 8), (2, 3 + 50 * 5), (3, 3 + 50 * 5)):
        found = list(yours([3] * 50, [5] * 50, buffers))
        assert len(found) == 50, f"50 steps, and {len(found)} times"
        assert found[-1] == end, (
            f"50 steps of 5, loading takes 3, {buffers} buffers: {end}, not {found[-1]}"
        )


exercise(3, finish_times, check)

# %% [markdown]
# ## What to read next
#
# [Tutorial 10](10_fast.py) makes the same code fast where most of us run it, on a CPU. In the
# library, only `minisd/gpu.py` imports CuPy, `minisd/backend.py` tells whose an array is,
# `minisd/runs/pending_losses.py` decides when to look, `minisd/cli/gpu_check.py` is the command
# `minisd gpu-check`, and `tests/fast/test_gpu_counts.py` counts launches, transfers and waits.
# CuPy's user guide has a page on
# [performance](https://docs.cupy.dev/en/stable/user_guide/performance.html), which begins with how
# to time it.
