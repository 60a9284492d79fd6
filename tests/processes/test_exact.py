"""Several ranks compute what one computes. Here they are threads, which meet at a barrier."""

import numpy as np
import pytest

import minisd
from minisd import SGD, Adam, draw_gates, draw_image_gates, linear_decay, ops, resnet
from minisd.backend import to_device, to_numpy
from minisd.data_parallel import traffic
from minisd.distributed import ALONE, Group, RankLost, ShardedGroup, run_ranks
from minisd.errors import ConfigError, DataError, NonFiniteError, RunFolderError
from minisd.flow import Recorder
from minisd.gates import set_image_gates
from minisd.train import evaluate, train_step

SIZES = (10, 10, 10, 10, 7)
"""Images in each mini-batch: neither 2 nor 3 divides the last one."""
L = 9
OPTIONS = {
    "plain": {},
    "layer by layer": {"fused": False},
    "the book": {"book": True},
    "the book, bottleneck": {"book": True, "branch": "bottleneck", "depth": 29},
    "A-subsample": {"shortcut": "A-subsample"},
    "projection": {"shortcut": "projection"},
    "no shortcut": {"shortcut": "none", "survival": [1.0] * L},
    "bottleneck": {"branch": "bottleneck", "depth": 29, "shortcut": "projection"},
    "pre-activation": {"branch": minisd.preact_branch, "block": minisd.PreActBlock},
    "scaled in training": {"scale": "train"},
    "freeze": {"dropped": "freeze"},
    "Adam": {"dropped": "freeze", "optimizer": Adam},
    "recomputed": {"recompute_every": 2},
    "recomputed, the book": {"recompute_every": 4, "book": True},
    "gates of images": {"gates": "image"},
    "frozen batch norm": {"frozen": True},
}  # fmt: skip


def batches(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, 3, 8, 8)).astype(dtype), rng.integers(0, 10, n)) for n in SIZES]


def trained(group, *, depth=20, dropped="coast", optimizer=SGD, book=False, gates="batch",
            frozen=False, dtype=np.float64, device="cpu", **options):  # fmt: skip
    """Train for five steps as a rank of a group; return the network and the losses."""
    options = {"survival": linear_decay(L, 0.5)} | options
    model = resnet(depth, width=4, rng=np.random.default_rng(1), dtype=dtype, **options)
    model.to(device)
    if book:
        model.use(ops)
    if frozen:
        model.blocks[4].eval()
    moving, chance = optimizer(model, 0.01, dropped=dropped), np.random.default_rng(2)
    losses = []
    for images, labels in batches(dtype):
        mine = group.part(len(images))
        if gates == "image":
            of_all = draw_image_gates(model, chance, len(images))
            set_image_gates(model, of_all[:, mine])
        else:
            draw_gates(model, chance)
        of = None if group is ALONE else len(images)
        part = to_device(images[mine], device), to_device(labels[mine], device)
        losses.append(train_step(model, moving, *part, group=group, of=of))
    return model, losses


def arrays(model):
    """Parameters and running statistics, on the host."""
    trained = [p.data for _, p in model.parameters()]
    return [to_numpy(array) for array in (*trained, *(buffer for _, buffer in model.buffers()))]


def largest_difference(model, other):
    return max(abs(a - b).max() for a, b in zip(arrays(model), arrays(other), strict=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_ranks_compute_what_one_computes(name):
    alone, losses = trained(ALONE, **OPTIONS[name])
    for size in (1, 2, 3) if name == "plain" else (2, 3):
        for model, theirs in run_ranks(size, lambda group: trained(group, **OPTIONS[name])):
            assert largest_difference(alone, model) < 1e-12
            np.testing.assert_allclose(theirs, losses, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["plain", "the book", "projection", "recomputed"])
def test_ranks_on_a_gpu(name, gpu):
    alone, _ = trained(ALONE, device=gpu.name, **OPTIONS[name])
    for model, _ in run_ranks(2, lambda g: trained(g, device=gpu.name, **OPTIONS[name])):
        assert largest_difference(alone, model) < 1e-12


def test_all_ranks_end_with_the_same_bits():
    first, *others = run_ranks(3, lambda group: trained(group, dtype=np.float32))
    for other in others:
        assert largest_difference(first[0], other[0]) == 0
        assert other[1] == first[1]


class Forgetful(Group):
    """A member that forgets one of the three sums: it takes its own part for the whole."""

    def __init__(self, group, forgets):
        super().__init__()
        self.rank, self.size, self.group, self.forgets = group.rank, group.size, group, forgets

    def gather(self, mine):
        kind = {3: "forward", 2: "backward"}.get(len(mine))
        if isinstance(mine[0], float):
            kind = "loss"
        parts = self.group.gather(mine)
        return [mine] if kind == self.forgets else parts

    def add(self, array):
        total = self.group.add(array)
        return array if self.forgets == "gradients" else total


@pytest.mark.parametrize("forgets", ["forward", "backward", "gradients"])
def test_a_forgotten_sum_is_noticed(forgets):
    alone, losses = trained(ALONE)
    ranks = run_ranks(2, lambda group: trained(Forgetful(group, forgets)))
    assert max(largest_difference(alone, model) for model, _ in ranks) > 1e-4
    assert largest_difference(ranks[0][0], ranks[1][0]) > 1e-4  # they drift apart
    assert max(np.abs(np.subtract(theirs, losses)).max() for _, theirs in ranks) > 1e-4


def test_the_control_itself_is_right():
    alone, _ = trained(ALONE)
    for model, _ in run_ranks(2, lambda group: trained(Forgetful(group, "nothing"))):
        assert largest_difference(alone, model) < 1e-12


# ---- the same bits ----


@pytest.mark.parametrize(
    "name",
    [
        *("plain", "the book", "gates of images"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("recomputed", "Adam")),
    ],
)
def test_shards_give_the_same_bits_for_any_number_of_processes(name):
    alone, _ = trained(ALONE, **OPTIONS[name])

    def sharded(group):
        return trained(ShardedGroup(group, 4), **OPTIONS[name])

    reference, losses = sharded(ALONE)
    assert largest_difference(alone, reference) < 1e-12
    for size in (1, 2, 4):
        for model, theirs in run_ranks(size, sharded):
            assert largest_difference(reference, model) == 0
            assert theirs == losses


def test_in_float32_shards_give_the_same_bits_where_processes_do_not():
    def digests(group_of):
        return {
            b"".join(array.tobytes() for array in arrays(model))
            for size in (1, 2, 4)
            for model, _ in run_ranks(size, lambda g: trained(group_of(g), dtype=np.float32))
        }

    assert len(digests(lambda group: ShardedGroup(group, 4))) == 1
    assert len(digests(lambda group: group)) > 1


@pytest.mark.parametrize(("size", "shards", "words"), [(1, 3, "power of two"), (3, 4, "divide")])
def test_shards_that_cannot_be_shared_out(size, shards, words):
    with pytest.raises(ConfigError, match=words):
        run_ranks(size, lambda group: ShardedGroup(group, shards))


# ---- what is sent ----


def sent(group, gates, **options):
    """The messages and bytes of a step with these gates, counted and by the formula."""
    model = resnet(20, width=4, rng=np.random.default_rng(1), **options)
    minisd.set_gates(model, gates)
    (images, labels), *_ = batches(np.float32)
    mine = group.part(len(images))
    train_step(
        model, SGD(model, 0.1), images[mine], labels[mine], group=group, of=len(images)
    )  # fmt: skip
    return (group.messages, group.bytes), traffic(model, gates)


@pytest.mark.parametrize("shortcut", ["A", "projection"])
@pytest.mark.parametrize("closed", [[], [0], [3, 4, 8], list(range(9))])
def test_closed_blocks_send_nothing(closed, shortcut):
    gates = [number not in closed for number in range(L)]
    for (messages, size), formula in run_ranks(2, lambda g: sent(g, gates, shortcut=shortcut)):
        assert messages == formula.messages + 1
        assert size == formula.bytes + formula.gradient_bytes


def test_the_formula_by_hand():
    """Stem of 4 channels, a 3x3 convolution and a batch norm; classifier 16 x 10 and its bias."""
    model = resnet(20, width=4, rng=np.random.default_rng(1))
    nothing_open = traffic(model, [False] * L)
    assert nothing_open == (1 + 2, 24 + (8 + 4 * 4 * 4), 4 * (27 * 4 + 160 + 10))
    first_open = traffic(model, [True] + [False] * (L - 1))
    assert first_open.messages - nothing_open.messages == 4
    assert first_open.bytes - nothing_open.bytes == 2 * (8 + 4 * 4 * 4)
    assert first_open.gradient_bytes - nothing_open.gradient_bytes == 4 * 2 * 9 * 4 * 4


def test_what_110_layers_save():
    """By p_L = 0.5, a quarter of the messages and 37 % of the gradients are not sent."""
    model = resnet(110, rng=np.random.default_rng(1))
    constant = traffic(model, [True] * 54)
    assert constant.messages == 218 + 1
    assert constant.gradient_bytes == pytest.approx(6.88e6, rel=0.01)
    each = [traffic(model, [number != block for number in range(54)]) for block in range(54)]
    closed = 1 - np.array(linear_decay(54, 0.5))  # the probability that a block is closed
    messages = 218 - sum(p * (219 - t.messages) for p, t in zip(closed, each, strict=True))
    sizes = [constant.gradient_bytes - t.gradient_bytes for t in each]
    assert messages / 218 == pytest.approx(0.75, abs=0.01)
    assert float(closed @ sizes) / constant.gradient_bytes == pytest.approx(0.37, abs=0.01)


# ---- decisions ----


def test_parts_cover_the_batch_and_differ_by_one_image_at_most():
    for count in range(2, 12):
        parts = run_ranks(2, lambda group, n=count: group.part(n))
        images = [list(range(count))[part] for part in parts]
        assert [*images[0], *images[1]] == list(range(count))
        assert len(images[1]) - len(images[0]) in (0, 1)


def test_an_error_of_one_rank_is_that_of_all():
    def work(group):
        def read():
            if group.rank == 1:
                raise DataError("cifar10 is damaged")
            return group.rank

        try:
            return group.together(read)
        except DataError as error:
            return str(error)

    told = "on rank 1: cifar10 is damaged"
    assert run_ranks(3, work) == [told, "cifar10 is damaged", told]


def test_the_first_rank_does_it_for_all():
    calls = []

    def work(group):
        return group.first(lambda: calls.append(group.rank) or "done")

    assert run_ranks(3, work) == ["done"] * 3
    assert calls == [0]


def test_an_error_of_the_program_ends_all_ranks():
    def work(group):
        if group.rank == 1:
            raise ZeroDivisionError
        group.gather((1,))

    with pytest.raises(ZeroDivisionError):
        run_ranks(3, work)


def test_who_waits_for_one_that_has_ended_is_told():
    def work(group):
        if group.rank == 0:
            return None
        with pytest.raises(RankLost):
            group.gather((1,))
        raise RuntimeError("told")

    def leaves(group):
        if group.rank == 0:
            group._meeting.leave()
        return work(group)

    with pytest.raises(RuntimeError, match="told"):
        run_ranks(2, leaves)


def test_ranks_with_other_gates_are_noticed():
    def work(group):
        model = resnet(8, width=2, survival=[1.0, 0.5, 0.5], rng=np.random.default_rng(1))
        minisd.set_gates(model, [True, group.rank == 0, True])
        (images, labels), *_ = batches(np.float32)
        mine = group.part(10)
        train_step(model, SGD(model, 0.1), images[mine], labels[mine], group=group, of=10)

    with pytest.raises((RuntimeError, ValueError)):
        run_ranks(2, work)


@pytest.mark.parametrize("shards", [None, 4])
@pytest.mark.parametrize("where", ["image", "weight"])
def test_numbers_that_are_not_finite_are_named_alike_on_all_ranks(where, shards):
    def work(group):
        group = group if shards is None else ShardedGroup(group, shards)
        model = resnet(8, width=2, rng=np.random.default_rng(1))
        (images, labels), *_ = batches(np.float32)
        images = images.copy()
        if where == "image":
            images[9, 0, 0, 0] = np.nan  # of the last rank
        else:
            model.blocks[1].branch.layers[0].w.data[0, 0, 0, 0] = np.inf
        mine = group.part(10)
        with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as caught:
            train_step(model, SGD(model, 0.1), images[mine], labels[mine], group=group, of=10)
        return str(caught.value)

    said = set(run_ranks(2, work))
    assert len(said) == 1
    assert ("images themselves" if where == "image" else "blocks.1.branch") in said.pop()


# ---- evaluation, and the recorder ----


@pytest.mark.parametrize("num_batches", [1, 2, 3, 4, 7])
def test_evaluation_is_shared_out(num_batches):
    def network():
        return resnet(8, width=2, rng=np.random.default_rng(1))

    rng = np.random.default_rng(3)
    whole = [
        (rng.normal(size=(4, 3, 8, 8)).astype("f"), rng.integers(0, 10, 4))
        for _ in range(num_batches)
    ]
    alone = evaluate(network(), whole)
    for share in (
        lambda group: whole[group.rank :: group.size],
        lambda group: whole if group.rank == 1 else [],
    ):
        rates = run_ranks(3, lambda group, s=share: evaluate(network(), s(group), group=group))
        assert rates == [alone] * 3


def test_the_recorder_sees_the_whole_batch(tmp_path):
    """Activations are those of all images; one rank writes."""

    def recorded(group, folder):
        data = minisd.data.load("digits").limited(40)
        rng = np.random.default_rng(1)
        model = resnet(8, width=2, in_channels=1, survival=linear_decay(3, 0.5), rng=rng)
        minisd.fit(
            model,
            SGD(model, 0.01),
            data,
            epochs=2,
            batch_size=8,
            out=folder,
            quiet=True,
            group=group,
            callbacks=[Recorder(model, look_every=1)],
        )
        return minisd.flow.load(folder)

    alone = recorded(ALONE, tmp_path / "alone")
    for shared in run_ranks(2, lambda group: recorded(group, tmp_path / "shared")):
        assert shared.keys() == alone.keys()
        for name in alone:
            if alone[name].dtype.kind == "U":
                assert (shared[name] == alone[name]).all()
                continue
            np.testing.assert_allclose(
                shared[name], alone[name], rtol=1e-3, atol=1e-6, err_msg=name
            )


# ---- what would be wrong in silence ----


class Scale(minisd.Layer):
    """A layer of a user's own, whose attribute has the name of one of batch norm's."""

    def __init__(self):
        self.group = 4
        self.scale = minisd.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        self.save(x)
        if hasattr(self, "seen") and "seen" in vars(self):
            self.seen += x.sum()
        return self.scale.data * x

    def backward(self, dy):
        self.scale.accumulate((dy * self.take()).sum().reshape(1))
        return self.scale.data * dy


class Counted(Scale):
    """A layer with statistics of its own."""

    buffer_names = ("seen",)

    def __init__(self):
        super().__init__()
        self.seen = np.zeros(1, np.float32)


def fitted(group, *, first=None, callbacks=(), batch_size=8, epochs=1, limit=40):
    data = minisd.data.load("digits").limited(limit)
    model = resnet(8, width=2, in_channels=1, rng=np.random.default_rng(1))
    if first is not None:
        model = minisd.Sequential(first(), model)
    minisd.fit(
        model,
        SGD(model, 0.01),
        data,
        epochs=epochs,
        batch_size=batch_size,
        quiet=True,
        group=group,
        callbacks=callbacks,
    )
    return arrays(model)


def test_an_attribute_of_a_users_layer_is_not_batch_norms():
    alone = fitted(ALONE, first=Scale)
    for theirs in run_ranks(2, lambda group: fitted(group, first=Scale)):
        for a, b in zip(alone, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("group_of", [lambda g: g, lambda g: ShardedGroup(g, 4)])
def test_a_layer_with_statistics_of_its_own_is_noticed(group_of):
    with pytest.raises(RuntimeError, match="does a layer keep statistics"):
        run_ranks(2, lambda group: fitted(group_of(group), first=Counted))
    with pytest.raises(RuntimeError, match="does a layer keep statistics"):
        fitted(ShardedGroup(ALONE, 2), first=Counted)
    fitted(ALONE, first=Counted)


def test_a_constant_of_a_layer_is_no_statistic():
    Constant = type("Constant", (Scale,), {"buffer_names": ("seen",), "seen": np.ones(2)})
    run_ranks(2, lambda group: fitted(group, first=Constant))
    fitted(ShardedGroup(ALONE, 2), first=Constant)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": 41}, "the ranks have different images"),
        ({"batch_size": 9}, "the ranks have different settings: batch_size"),
        ({"epochs": 2}, "the ranks have different settings: epochs"),
    ],
)
def test_ranks_that_were_given_different_things(changes, words):
    with pytest.raises((ConfigError, DataError), match=words):
        run_ranks(2, lambda group: fitted(group, **(changes if group.rank else {})))


def test_a_parameter_of_batch_norm_that_is_another_layers_too():
    def work(group):
        network = resnet(8, width=2, in_channels=1, rng=np.random.default_rng(1))
        norm, scale = minisd.BatchNorm2d(1), Scale()
        scale.scale = norm.beta
        model = minisd.Sequential(scale, norm, network)
        (images, labels), *_ = batches(np.float32)
        mine = group.part(10)
        part = images[mine, :1], labels[mine]
        train_step(model, SGD(model, 0.1), *part, group=group, of=10)

    with pytest.raises(ValueError, match="another layer"):
        run_ranks(2, work)


@pytest.mark.parametrize("of", [3, 5, 12])
def test_shards_of_another_number_of_images(of):
    model = resnet(8, width=2, rng=np.random.default_rng(1))
    images, labels = np.zeros((6, 3, 8, 8), np.float32), np.zeros(6, int)
    with pytest.raises(ValueError, match="the parts have"):
        train_step(
            model, SGD(model, 0.1), images, labels, group=ShardedGroup(ALONE, 2), of=of
        )  # fmt: skip


def test_a_recorder_of_a_loop_of_ones_own_sees_no_shards(tmp_path):
    model = resnet(8, width=2, rng=np.random.default_rng(1))
    images, labels = np.zeros((6, 3, 8, 8), np.float32), np.zeros(6, int)
    optimizer = SGD(model, 0.1)
    with (
        pytest.raises(ValueError, match="cannot be recorded in shards"),
        Recorder(model, optimizer, tmp_path / "flow.jsonl") as recorder,
    ):
        train_step(model, optimizer, images, labels, recorder=recorder,
                   group=ShardedGroup(ALONE, 2), of=6)  # fmt: skip


def test_weights_that_one_rank_changes_are_noticed():
    def change(group):
        def callback(moment, run):
            if moment == "step" and group.rank == 1:
                next(run.model.parameters())[1].data[...] += 1e-6

        return callback

    with pytest.raises(RuntimeError, match="the ranks have different weights"):
        run_ranks(2, lambda group: fitted(group, callbacks=[change(group)]))


def test_a_mini_batch_of_fewer_images_than_ranks_is_refused():
    with pytest.raises(ConfigError, match="too few for 3 processes"):
        run_ranks(3, lambda group: fitted(group, batch_size=2))


@pytest.mark.parametrize(("of", "words"), [(10, r"the parts have \[10, 10\]"), (None, "needs of")])
def test_a_rank_that_takes_the_whole_batch_is_told(of, words):
    def work(group):
        model = resnet(8, width=2, rng=np.random.default_rng(1))
        (images, labels), *_ = batches(np.float32)
        train_step(model, SGD(model, 0.1), images, labels, group=group, of=of)

    with pytest.raises(ValueError, match=words):
        run_ranks(2, work)


def test_a_recorder_with_a_path_is_refused_among_ranks(tmp_path, monkeypatch):
    model = resnet(8, width=2, rng=np.random.default_rng(1))
    (other,) = run_ranks(2, lambda group: group)[1:]
    monkeypatch.setattr("minisd.flow.recorder.joined", lambda: other)
    with pytest.raises(RunFolderError, match="without a path"):
        Recorder(model, SGD(model, 0.1), tmp_path / "flow.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_program_that_forgets_the_group_is_told(monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "2")
    fitted(ALONE)
    assert "has started 2 processes" in capsys.readouterr().err
