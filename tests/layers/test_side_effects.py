"""Looking at a network leaves it as it was found, also when the look ends in an error.

Random sequences of calls on random networks. Each network has a twin that gets those calls only
that are meant to change something; after every call the two must be the same, to the last bit of
every attribute, and a training step at the end must give both the same.
"""

import contextlib
import copy
import pickle
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minisd import (
    SGD,
    draw_gates,
    fast,
    fused,
    linear_decay,
    machine,
    one_by_one,
    ops,
    resnet,
    set_gates,
)
from minisd.errors import NonFiniteError
from minisd.experiments.input_gradients import input_gradients
from minisd.experiments.path_lengths import sampled_norms
from minisd.flow import Recorder
from minisd.flow.hooks import Hooks, is_hooked
from minisd.flow.nonfinite import first_nonfinite
from minisd.gradcheck import KinkError, check_layer
from minisd.layer import Layer, Parameter
from minisd.layers import BatchNorm2d
from minisd.surgery import blocks_replaced, sub_network, without
from minisd.train import evaluate, train_step

SEQUENCES, CALLS = 12, 10


class Planted(Exception):
    """Raised in the middle of something."""


class World:
    """A random network, its optimiser, its generators; all of one seed."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.dtype = [np.float32, np.float64][rng.integers(2)]
        branch = str(rng.choice(["basic", "basic", "bottleneck"]))
        depth = {"basic": 8, "bottleneck": 11}[branch]
        self.model = resnet(
            depth,
            width=2,
            in_channels=2,
            num_classes=3,
            branch=branch,
            shortcut=str(rng.choice(["A", "A-subsample", "projection"])),
            scale=str(rng.choice(["test", "train"])),
            survival=linear_decay(3, 0.4),
            gamma="uniform",
            fused=bool(rng.random() < 0.7),
            recompute_every=[None, None, 1, 2][rng.integers(4)],
            rng=rng,
            dtype=self.dtype,
        )
        self.optimizer = SGD(self.model, 0.05)
        self.gates, self.rng = rng.spawn(2)

    def batch(self, seed):
        rng = np.random.default_rng([seed, 1])
        images = rng.standard_normal((3, 2, 8, 8)).astype(self.dtype)
        return images, rng.integers(0, 3, 3)

    def layer(self, seed, cls=Layer):
        layers = [each for each in self.model.walk() if isinstance(each, cls)]
        return layers[seed % len(layers)]


# ---- calls that change something: the twin gets them, too ----


def step(world, seed):
    if world.model.training:
        draw_gates(world.model, world.gates)
        train_step(world.model, world.optimizer, *world.batch(seed))


def forward_and_backward(world, seed):
    logits = world.model.forward(world.batch(seed)[0])
    if world.model.saves:
        world.model.backward(logits)


def forward_that_raises(world, seed):
    """In training, the batch norms before the raising one have moved."""
    hooks = Hooks()

    def forward(original, *arguments):
        original(*arguments)
        raise Planted

    leaves = [each for each in world.model.walk() if not list(each.children())]
    hooks.add(leaves[seed % len(leaves)], forward=forward)
    try:
        world.model.forward(world.batch(seed)[0])
    except Planted:
        assert not any(each._cache for each in world.model.walk()), f"seed {seed}: caches"
    finally:
        hooks.remove()


def train(world, seed):
    world.model.train()


def evaluation(world, seed):
    world.model.eval(keep=bool(seed % 2))


def freeze(world, seed):
    world.layer(seed, BatchNorm2d).eval()


def recompute(world, seed):
    world.model.recompute_every = [None, 1, 2, 3][seed % 4]


def gates(world, seed):
    set_gates(world.model, [bool(seed & bit) for bit in (1, 2, 4)])


def edition(world, seed):
    world.model.use([fast, ops][seed % 2])


def no_gradients(world, seed):
    world.model.zero_grad()


CHANGES = (
    step, step, step, forward_and_backward, forward_that_raises, train, train, evaluation, freeze,
    recompute, gates, edition, no_gradients,
)  # fmt: skip


# ---- calls that change nothing ----


def evaluated(world, seed):
    evaluate(world.model, [world.batch(seed), world.batch(seed + 1)])


def evaluated_wrongly(world, seed):
    images, labels = world.batch(seed)

    def stopped():
        yield images, labels
        raise Planted

    bad = [[(images, labels[:, None])], [(np.inf * images, labels)], [(images[:, :1], labels)], [],
           stopped()][seed % 5]  # fmt: skip
    with pytest.raises((ValueError, NonFiniteError, Planted)), np.errstate(invalid="ignore"):
        evaluate(world.model, bad)


def evaluated_until_a_layer_raises(world, seed):
    hooks = Hooks()

    def forward(original, *arguments):
        raise KeyboardInterrupt

    hooks.add(world.layer(seed, BatchNorm2d), forward=forward)
    try:
        with one_by_one(world.model), pytest.raises(KeyboardInterrupt):
            evaluate(world.model, [world.batch(seed)])
    finally:
        hooks.remove()


def recorded(world, seed, folder):
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    try:
        with Recorder(world.model, world.optimizer, path, look_every=1):
            assert any(is_hooked(each) for each in world.model.walk())
            if seed % 3 == 0:
                raise Planted
            if seed % 3 == 1:
                evaluate(world.model, [world.batch(seed)])
    except Planted:
        pass


def looked_at_one_by_one(world, seed):
    try:
        with one_by_one(world.model):
            evaluate(world.model, [world.batch(seed)])
            if seed % 2:
                raise Planted
    except Planted:
        pass


def gradient_checked(world, seed):
    """The stem, or a whole network; float32 and evaluation are refused."""
    model = world.model if seed % 5 == 0 else world.model.stem
    x = np.random.default_rng(seed).standard_normal((2, 2, 8, 8))
    grads = [(p, p.grad) for _, p in model.parameters()]
    try:
        check_layer(model, x, rng=np.random.default_rng(0), directions=1, elements=0)
    except KinkError:
        pass
    except (TypeError, RuntimeError):
        assert world.dtype == np.float32 or not model.saves
    for parameter, grad in grads:  # the new gradients are what a check leaves to look at
        parameter.grad = grad


def operated_on(world, seed):
    model = world.model
    blocks = [lambda: without(model, [seed % 3]), lambda: sub_network(model, [True, False, True]),
              lambda: model.blocks[::-1] + model.blocks][seed % 3]()  # fmt: skip
    try:
        with blocks_replaced(model, blocks):
            if seed % 3 < 2:
                evaluate(model, [world.batch(seed)])
            if seed % 2:
                raise Planted
    except Planted:
        pass


def paths_followed(world, seed):
    sampled_norms(world.model, *world.batch(seed), 1, samples=1, rng=np.random.default_rng(seed))


def gradients_at_inputs(world, seed):
    images, _ = world.batch(seed)
    try:
        input_gradients(world.model, images, np.ones(3, world.dtype))
    except RuntimeError:
        assert not world.model.saves


def bad_layer_looked_for(world, seed):
    images, _ = world.batch(seed)
    with np.errstate(invalid="ignore", over="ignore"):
        first_nonfinite(world.model, images * [1, np.inf][seed % 2])


def copied(world, seed):
    make = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))][seed % 2]
    other = make(world.model)
    assert_same(state(other), state(world.model), "the copy")
    other.train()
    train_step(other, SGD(other, 0.1), *world.batch(seed))


LOOKS = (
    evaluated, evaluated_wrongly, evaluated_until_a_layer_raises, recorded, looked_at_one_by_one,
    gradient_checked, operated_on, paths_followed, gradients_at_inputs, bad_layer_looked_for,
    copied,
)  # fmt: skip


# ---- what must be the same ----

OF_A_FORWARD = ("_cache", "_sums_in_one_pass")
"""What a forward keeps for its backward; another forward may drop it."""


def state(model):
    """Everything that layers are made of: classes, names of attributes, values, bits."""
    found = {}

    def look(where, value):
        if isinstance(value, np.ndarray):
            found[where] = value.dtype, value.shape, value.tobytes()
        elif isinstance(value, Parameter):
            look(f"{where}.data", value.data)
            look(f"{where}.grad", value.grad)
        elif isinstance(value, Layer):
            found[where] = type(value)
            names = [name for name in vars(value) if name not in OF_A_FORWARD]
            found[f"{where}: attributes"] = sorted(names)
            for name in {*names, "training", "saves", "_edition"}:
                look(f"{where}.{name}", getattr(value, name))
        elif isinstance(value, list | tuple | dict):
            found[f"{where}: length"] = type(value), len(value)
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for name, item in pairs:
                look(f"{where}.{name}", item)
        else:
            found[where] = value

    look("model", model)
    return found


def whole(world):
    return state(world.model) | {
        "momentum": {name: v.tobytes() for name, v in world.optimizer.buffers()},
        "optimiser": {k: v for k, v in vars(world.optimizer).items() if isinstance(v, str | float)},
        "gates": world.gates.bit_generator.state,
        "rng": world.rng.bit_generator.state,
        "chain": [bool(c.links) for c in world.model.walk() if hasattr(c, "links")],
    }


def of_the_process():
    return {
        "errors": np.geterr(),
        "buffer": np.getbufsize(),
        "threads": machine.num_threads(),
        "blas": [pool["num_threads"] for pool in threadpool_info()],
        "global generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
    }


def assert_same(ours, right, where):
    different = [name for name in ours.keys() | right.keys() if ours.get(name) != right.get(name)]
    assert not different, f"{where}: {[(n, ours.get(n), right.get(n)) for n in different[:3]]}"


def run_sequence(seed, folder):
    world, twin = World(seed), World(seed)
    rng = np.random.default_rng([seed, 2])
    calls = []
    process = of_the_process()
    for _ in range(CALLS):
        call = [CHANGES, LOOKS][int(rng.random() < 0.5)]
        call, number = call[rng.integers(len(call))], int(rng.integers(1000))
        calls.append(f"{call.__name__}({number})")
        where = f"seed {seed}, {world.dtype.__name__}, after {', '.join(calls)}"
        if call in CHANGES:
            call(world, number)
            call(twin, number)
        else:
            more = (folder,) if call is recorded else ()
            call(world, number, *more)
        assert_same(whole(world), whole(twin), where)
    for each in (world, twin):
        each.model.train()
        step(each, seed)
        forward_and_backward(each, seed)
    assert_same(whole(world), whole(twin), f"{where}, a step")
    assert_same(of_the_process(), process, where)


@pytest.mark.parametrize("part", range(4))
def test_whatever_is_looked_at_is_as_before(part, tmp_path):
    for seed in range(part, SEQUENCES, 4):
        run_sequence(seed, tmp_path)


def plant(fault, monkeypatch):
    """Break one promise somewhere in the package."""
    here = globals()
    if fault == "evaluation leaves its mode":
        monkeypatch.setattr("minisd.train.restore", lambda before: None)
    elif fault == "a recorder stays after an error":
        monkeypatch.setattr(Recorder, "__exit__", lambda self, kind, *_: kind or self.close())
    elif fault == "a gradient check moves statistics":
        module = sys.modules["minisd.gradcheck.compare"]
        monkeypatch.setattr(module, "restored", contextlib.nullcontext)
    elif fault == "paths leave gradients":
        monkeypatch.setattr("minisd.experiments.path_lengths.unmoved", contextlib.nullcontext)
    elif fault == "surgery is not undone after an error":

        @contextlib.contextmanager
        def replaced(model, blocks):
            original, model.blocks = model.blocks, list(blocks)
            yield
            model.blocks = original

        monkeypatch.setitem(here, "blocks_replaced", replaced)
    elif fault == "layers stay one by one after an error":

        @contextlib.contextmanager
        def unfused(model):
            fused._one_by_one.update(each for each in model.walk() if hasattr(each, "read"))
            yield
            fused._one_by_one.clear()

        monkeypatch.setitem(here, "one_by_one", unfused)
    elif fault == "a copy shares a parameter":
        monkeypatch.setattr(Parameter, "__deepcopy__", lambda self, memo: self, raising=False)
    elif fault == "NumPy's settings are left":
        monkeypatch.setattr("minisd.experiments.path_lengths.set_gates", leave_a_setting)


def leave_a_setting(model, gates):
    np.seterr(under="raise")
    set_gates(model, gates)


FAULTS = (
    "evaluation leaves its mode", "a recorder stays after an error",
    "a gradient check moves statistics", "paths leave gradients",
    "surgery is not undone after an error", "layers stay one by one after an error",
    "a copy shares a parameter",
    "NumPy's settings are left",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault, monkeypatch, tmp_path):
    plant(fault, monkeypatch)
    with np.errstate(), pytest.raises(AssertionError, match="seed"):  # noqa: PT012
        for seed in range(2 * SEQUENCES):
            run_sequence(seed, tmp_path)
