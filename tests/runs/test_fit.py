"""`minisd.fit`: the loop of `minisd train`, for objects of one's own."""

import json

import numpy as np
import pytest

import minisd
from minisd import SGD, Adam, PreActBlock, cosine, data, every_other, flow, preact_branch, resnet
from minisd.data import Split
from minisd.data.batches import Augmentation
from minisd.errors import CheckpointError, ConfigError, RunFolderError
from minisd.runs import fit as loop
from minisd.runs import in_folder, session
from minisd.runs.interrupt import Interrupted
from minisd.runs.run import Run
from minisd.runs.session import train
from own_optimizer import RMSProp
from tiny_runs import bits, contents, outcome, tiny, without_seconds

pytestmark = pytest.mark.usefixtures("without_pictures")
DRAW = in_folder._draw
DIGITS = data.load("digits")
TRAIN = (DIGITS.train.images[:80], DIGITS.train.labels[:80])
VALIDATION = (DIGITS.train.images[80:120], DIGITS.train.labels[80:120])
TEST = DIGITS.test[:30]


def network(seed=1, **changes):
    options = {"width": 2, "in_channels": 1, "survival": [0.9, 0.8, 0.7], **changes}
    return resnet(8, rng=np.random.default_rng(seed), **options)


def fitted(out=None, *, model=None, optimizer=None, **changes):
    """What a program does that is started again after a kill."""
    model = model or network()
    arguments = {
        "epochs": 3,
        "batch_size": 16,
        "schedule": cosine(1e-2),
        "gates": every_other,
        "test": TEST,
        "augmentation": Augmentation(1, flip=False),
        "quiet": True,
        "out": out,
        **changes,
    }
    given = [arguments.pop(name, of) for name, of in (("train", TRAIN), ("val", VALIDATION))]
    return minisd.fit(model, optimizer or Adam(model, 1e-3), *given, **arguments)


def weights(run):
    return bits({name: p.data for name, p in run.model.parameters()})


class StopsAt:
    """A callback that stops training, as a signal does, after so many steps of the run."""

    def __init__(self, step):
        self.step = step

    def __call__(self, moment, run):
        if moment == "step" and run.steps_done == self.step:
            raise RuntimeError("enough")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has interrupted, its recording, and its folder."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    model = network()
    optimizer = Adam(model, 1e-3)
    with_recorder = [flow.Recorder(model, optimizer)]
    return fitted(folder, model=model, optimizer=optimizer, callbacks=with_recorder), folder


def test_it_is_the_loop_of_minisd_train(tmp_path):
    """From the objects that `minisd train` makes of settings: the same bits, row by row."""
    config = tiny(epochs=2, validate_every=3)
    theirs = train(config, tmp_path / "train")
    run = Run(config)
    ours = minisd.fit(
        run.model,
        run.optimizer,
        run.train,
        run.validation,
        test=run.test,
        epochs=2,
        batch_size=config.batch_size,
        schedule=config.rates,
        augmentation=run.augmentation,
        validate_every=3,
        seed=config.seed,
        out=tmp_path / "fit",
        quiet=True,
    )
    assert weights(ours) == weights(theirs)
    assert without_seconds(ours.history) == without_seconds(theirs.history)
    assert ours.best == theirs.best
    assert contents(tmp_path / "fit").keys() == contents(tmp_path / "train").keys()
    assert bits(ours.best_arrays) == bits(theirs.best_arrays)


def test_without_a_folder_it_is_the_same_and_writes_nothing(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = fitted()
    assert weights(run) == weights(whole[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [5, None])
def test_an_interrupted_run_goes_on_bit_for_bit(whole, tmp_path, step):
    """At the end of an epoch, and at a step drawn anew each time; with everything made again."""
    folder = tmp_path / "run"
    step = step or int(np.random.default_rng().integers(1, 15))
    for callbacks in ([StopsAt(step)], []):
        model = network()
        optimizer = Adam(model, 1e-3)
        with flow.Recorder(model, optimizer) as recorder:
            options = {"model": model, "optimizer": optimizer}
            try:
                run = fitted(folder, callbacks=[recorder, *callbacks], **options)
            except RuntimeError as error:
                assert str(error) == "enough"  # noqa: PT017
    assert run.is_complete
    assert outcome(folder) == outcome(whole[1]), f"interrupted after step {step}"
    assert len(flow.load(folder)["step"]) == len(flow.load(whole[1])["step"]) == 15


def test_a_signal_saves_and_the_same_call_goes_on(whole, tmp_path, monkeypatch):
    def check(self):
        raise Interrupted(2)

    with monkeypatch.context() as patched:
        patched.setattr("minisd.runs.interrupt.StopSignals.check", check)
        with pytest.raises(Interrupted):
            fitted(tmp_path)
    model = network()
    optimizer = Adam(model, 1e-3)
    run = fitted(tmp_path, model=model, optimizer=optimizer)  # both now as they were saved
    assert weights(run) == weights(whole[0])
    again = fitted(tmp_path, model=model, optimizer=optimizer)  # complete, with trained objects
    assert again.is_complete
    assert outcome(tmp_path) == outcome(whole[1])


def test_a_complete_run_goes_on_longer(tmp_path):
    fitted(tmp_path, epochs=1)
    longer = fitted(tmp_path, epochs=3)
    assert [row["epoch"] for row in longer.history] == [1, 2, 3]
    (change,) = json.loads((tmp_path / "config.json").read_text())["origin"]["lengths"]
    assert (change["from"], change["to"], change["steps_done"]) == (1, 3, 5)
    assert longer.history[2]["lr"] == fitted().history[2]["lr"]  # that of a run of three epochs
    with pytest.raises(ConfigError, match="cannot end after 2 epochs: 3 epochs are done"):
        fitted(tmp_path, epochs=2)


OTHERS = {
    "model is": lambda: {"model": network(width=3)},
    "survival is": lambda: {"model": network(survival=[0.9, 0.8, 0.6])},
    "optimizer is": lambda: {"model": (m := network()), "optimizer": SGD(m, 0.1)},
    "schedule is": lambda: {"schedule": 0.1},
    "gates is": lambda: {"gates": None},
    "batch_size is 16 there, 8 here": lambda: {"batch_size": 8},
    "augmentation is": lambda: {"augmentation": Augmentation(2, flip=False)},
    "normalise is": lambda: {"normalise": False},
    "seed is": lambda: {"seed": 2},
    "other images or labels": lambda: {"val": TRAIN},
}


@pytest.mark.parametrize("says", OTHERS)
def test_another_run_in_the_folder_is_a_sentence(whole, says):
    _, folder = whole
    before = contents(folder)
    with pytest.raises(ConfigError, match=f"{folder}.*{says}.*force=True"):
        fitted(folder, **OTHERS[says]())
    assert contents(folder) == before


def test_folders_of_minisd_train_and_of_others_are_left_alone(tmp_path):
    train(tiny(epochs=1), tmp_path / "train")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="has a run of 'minisd train'"):
        fitted(tmp_path / "train")
    with pytest.raises(RunFolderError, match=r"other files, such as thesis.tex"):
        fitted(tmp_path / "other")
    with pytest.raises(RunFolderError, match=r"other files, such as thesis.tex"):
        fitted(tmp_path / "other", force=True)
    assert contents(tmp_path) == before
    fitted(tmp_path / "train", force=True, epochs=1)
    assert json.loads((tmp_path / "train" / "config.json").read_text())["made_by"] == "minisd.fit"


def test_what_cannot_be_trained_is_a_sentence():
    model = network()
    for changes, says in (
        ({"optimizer": SGD(network(), 0.1)}, "made for another network"),
        ({"optimizer": 0.1}, "takes an optimiser"),
        ({"val": None}, "needs validation images"),
        ({"val": VALIDATION[0]}, "validation is a Split, a pair"),
        ({"val": (VALIDATION[0][..., :4], VALIDATION[1])}, "images of train are .* of validation"),
        ({"epochs": 0}, "epochs"),
        ({"schedule": "fast"}, "a schedule is a function"),
        ({"schedule": lambda epoch: -1.0}, "learning rate that the schedule gives"),
        ({"gates": [True]}, "gates is a function"),
        ({"callbacks": [flow.Recorder]}, "a callback is a function"),
        ({"augmentation": 4}, "augmentation is a"),
        ({"flow": 3}, "give out as well"),
    ):
        with pytest.raises(ConfigError, match=says):
            fitted(**{"model": model, **changes})


def test_callbacks_are_told_every_moment_in_order():
    moments = []
    run = fitted(epochs=1, callbacks=[lambda moment, run: moments.append((moment, run.steps_done))])
    assert run.is_complete
    steps = [pair for step in range(5) for pair in (("backward", step), ("step", step + 1))]
    ends = [(moment, 5) for moment in ("validation", "epoch", "save", "end")]
    assert moments == [("start", 0), *steps, *ends]


@pytest.mark.parametrize("moment", ["backward", "step", "epoch"])
def test_an_error_in_a_callback_ends_training_and_loses_nothing(whole, tmp_path, moment):
    def fails(now, run):
        if now == moment and run.position.epoch >= 2:
            raise ZeroDivisionError(f"at {now}")

    with pytest.raises(ZeroDivisionError, match=f"at {moment}"):
        fitted(tmp_path, callbacks=[fails])
    fitted(tmp_path)
    assert outcome(tmp_path) == outcome(whole[1])


def test_a_recorder_needs_a_folder_or_a_path(tmp_path):
    model = network()
    optimizer = Adam(model, 1e-3)
    with flow.Recorder(model, optimizer) as recorder:
        with pytest.raises(RunFolderError, match="give fit an out, or the recorder a path"):
            fitted(model=model, optimizer=optimizer, callbacks=[recorder])
        recorder.detach()
    with flow.Recorder(model, optimizer, tmp_path / "f.jsonl") as recorder:
        fitted(model=model, optimizer=optimizer, callbacks=[recorder], epochs=1)
    assert flow.load(tmp_path / "f.jsonl")["step"].tolist() == [1, 2, 3, 4, 5]


def test_the_network_has_the_last_weights_and_then_the_best(tmp_path):
    run = fitted(tmp_path, epochs=4, schedule=0.05, optimizer=None)
    last, best = (minisd.load_model(tmp_path, which) for which in ("last", "best"))
    assert weights(run) == bits({name: p.data for name, p in last.parameters()})
    run.use_best()
    assert weights(run) == bits({name: p.data for name, p in best.parameters()})
    assert loop.error_rate(run, run.validation) == run.best["val_error"]


def half_open(probabilities, rng):
    """A user's own way to draw the gates."""
    gates = [True] * len(probabilities)
    gates[rng.integers(len(gates))] = False
    return gates


def test_ones_own_optimiser_gates_schedule_and_blocks_go_on_bit_for_bit(tmp_path):
    runs = []
    for name, stops in (("whole", []), ("parts", [StopsAt(7)]), ("parts", [])):
        model = network(branch=preact_branch, block=PreActBlock)
        own = {"gates": half_open, "schedule": lambda epoch: 1e-3 / epoch, "flow": 4}
        try:
            runs.append(
                fitted(tmp_path / name, model=model, optimizer=RMSProp(model, 1e-3),
                       callbacks=stops, **own)
            )  # fmt: skip
        except RuntimeError:
            runs.append(None)
    assert [run is None for run in runs] == [False, True, False]
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    assert {row["mean_open"] for row in runs[0].history} == {2.0}
    assert runs[0].history[0]["lr"] == pytest.approx(1e-3 / 1.8)  # the fifth of five steps


def test_gates_for_each_image_are_drawn_once_a_mini_batch_and_go_on_bit_for_bit(tmp_path):
    for name, stops in (("whole", []), ("parts", [StopsAt(7)]), ("parts", [])):
        try:
            run = fitted(tmp_path / name, gates="image", callbacks=stops)
        except RuntimeError:
            continue
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["gates"] == "image"
    rng = np.random.default_rng(np.random.SeedSequence(1).spawn(4)[3])
    probs = np.array([[0.9], [0.8], [0.7]])
    for row in run.history:  # 80 images, 16 at a time
        drawn = [(rng.random((3, 16)) < probs).mean(axis=1).sum() for _ in range(5)]
        assert row["mean_open"] == pytest.approx(np.mean(drawn))


def test_the_command_draws_gates_for_each_image_if_asked(tmp_path):
    config = tiny(epochs=1, survival="uniform", p_last=0.5, gates="image")
    run = train(config, tmp_path / "run")
    assert all(p.grad is not None for _, p in run.model.parameters())  # no branch was skipped
    assert session.read_settings(tmp_path / "run", {}).gates == "image"
    with pytest.raises(ConfigError, match="unknown gates 'row'"):
        tiny(gates="row")


def test_ways_to_draw_the_gates_are_told_apart_by_their_numbers(tmp_path):
    fitted(tmp_path / "run", gates=minisd.grouped(2), epochs=1)
    with pytest.raises(ConfigError, match=r"gates is 'grouped\(2\)' there, 'grouped\(3\)' here"):
        fitted(tmp_path / "run", gates=minisd.grouped(3), epochs=1)


def test_gates_that_do_not_fit_are_a_sentence():
    with pytest.raises(ValueError, match="the gates that <lambda> drew: 3 blocks need 3 gates"):
        fitted(gates=lambda probabilities, rng: [True])


def test_data_sets_bring_their_splits():
    model = network()
    dataset = DIGITS.limited(60)
    run = minisd.fit(model, SGD(model, 0.1), dataset, epochs=1, seed=3, quiet=True)
    train_split, validation = data.split_validation(
        dataset, np.random.default_rng(np.random.SeedSequence(3).spawn(4)[1])
    )
    np.testing.assert_array_equal(run.validation.images, validation.images)
    np.testing.assert_array_equal(run.train.labels, train_split.labels)
    assert run.test is dataset.test


def test_without_test_images_there_is_no_test_error(tmp_path, monkeypatch):
    monkeypatch.setattr("minisd.runs.in_folder._draw", DRAW)
    run = fitted(tmp_path, test=None, epochs=1)
    assert run.best["test_error"] is None
    assert run.history[0]["test_error"] is None
    assert (tmp_path / "curve.png").exists()
    fitted(tmp_path, test=None, epochs=2)


def test_images_that_are_not_to_be_normalised():
    images = np.random.default_rng(0).standard_normal((40, 1, 8, 8))
    split = Split(images, np.arange(40) % 10)
    seen = []
    model = network()
    forward = model.forward
    model.forward = lambda x: seen.append(x) or forward(x)  # type: ignore[method-assign]
    fitted(model=model, train=split, val=split, test=None, normalise=False, epochs=1,
           augmentation=Augmentation(0, flip=False))  # fmt: skip
    assert {x.dtype for x in seen} == {np.dtype(np.float32)}
    np.testing.assert_allclose(seen[-1], images[32:], rtol=1e-6)  # validation: in order


def test_a_damaged_checkpoint_is_refused_before_anything_changes(tmp_path):
    fitted(tmp_path, epochs=1)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-20])
    before, model = contents(tmp_path), network()
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        fitted(tmp_path, model=model, epochs=2)
    assert contents(tmp_path) == before
    np.testing.assert_array_equal(model.head.w.data, network().head.w.data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"gates": minisd.grouped}, "gates is called as"),
        ({"callbacks": print}, "callbacks is a list"),
    ],
)
def test_what_fit_cannot_take_is_said_before_anything_is_done(changes, words):
    model = resnet(8, width=2, in_channels=1, survival=[1, 1, 1], rng=np.random.default_rng(0))
    images, labels = np.ones((4, 1, 8, 8), np.float32), np.arange(4)
    images[0] = 0
    with pytest.raises(ConfigError, match=words):
        minisd.fit(model, SGD(model, 0.1), (images, labels), (images, labels), epochs=1, **changes)
