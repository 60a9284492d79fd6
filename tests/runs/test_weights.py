"""Weights of a run in another network: `load_model`, `load_weights` and ``--init``."""

import json
import shutil

import numpy as np
import pytest

import minisd
from minisd import SGD, PreActBlock, ResidualBlock, basic_branch, data, preact_branch, resnet
from minisd.errors import CheckpointError, ConfigError, RunFolderError
from minisd.runs import checkpoint
from minisd.runs.run import Run
from minisd.runs.session import resume, train
from minisd.runs.weights import start_from
from tiny_runs import bits, contents, outcome, tiny

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run, and its folder."""
    folder = tmp_path_factory.mktemp("weights") / "run"
    return train(tiny(epochs=4, survival=(0.9, 0.8, 0.7), lr=0.2), folder), folder


class OwnBlock(ResidualBlock):
    """A class of a user's own."""


def own_branch(*sizes, **options):
    """A function of a user's own."""
    return basic_branch(*sizes, **options)


@pytest.mark.parametrize("which", ["best", "last"])
def test_load_model_needs_no_data_and_tests_as_the_run_did(run, which, monkeypatch):
    trained, folder = run
    monkeypatch.setattr("minisd.data.load", None)
    model = minisd.load_model(folder, which)
    assert not model.training
    assert model.survival_probs == [0.9, 0.8, 0.7]
    wrong = [
        (model.forward(model.normaliser(split.images)).argmax(axis=1) != split.labels).mean()
        for split in (trained.validation, trained.test)
    ]
    row = trained.best if which == "best" else trained.history[-1]
    assert wrong == pytest.approx([row["val_error"], row["test_error"]])


def test_best_and_last_are_different_weights(run):
    """Or the test above would prove nothing."""
    best, last = (minisd.load_model(run[1], which) for which in ("best", "last"))
    assert (best.head.w.data != last.head.w.data).any()


def test_a_run_of_an_older_version_is_loaded(run, tmp_path):
    """Format 2: no normaliser, no `made_with`, and the momentum under its older name."""
    shutil.copytree(run[1], tmp_path / "old")
    path = tmp_path / "old" / "checkpoint.npz"
    arrays, meta = checkpoint.load(path)
    for name in ("optimizer", "normaliser_std", "format"):
        del meta[name]
    for name in ("init", "optimizer", "schedule"):
        del meta["config"][name]
    old = {name.replace("optimizer/velocity", "momentum"): a for name, a in arrays.items()}
    del old["normaliser/mean"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoint, "FORMAT", checkpoint.SECOND_FORMAT)
        checkpoint.save(path, old, meta)
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    for name in ("init", "optimizer", "schedule"):
        del config[name]
    del config["resolved"]["network"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    model, ours = minisd.load_model(tmp_path / "old"), minisd.load_model(run[1])
    assert model.normaliser is None
    np.testing.assert_array_equal(model.head.w.data, ours.head.w.data)
    longer = resume(tmp_path / "old", {"epochs": 5})
    shutil.copytree(run[1], tmp_path / "new")
    resume(tmp_path / "new", {"epochs": 5})
    assert outcome(tmp_path / "old") == outcome(tmp_path / "new")
    assert longer.is_complete


def test_what_cannot_be_loaded_is_a_sentence(run, tmp_path):
    _, folder = run
    with pytest.raises(RunFolderError, match="there is no run folder"):
        minisd.load_model(tmp_path / "none")
    with pytest.raises(ConfigError, match="which is 'best' or 'last', not 'first'"):
        minisd.load_model(folder, "first")
    with pytest.raises(CheckpointError, match="another network"):
        minisd.load_weights(
            resnet(14, width=2, in_channels=1, rng=np.random.default_rng(0)), folder
        )
    (tmp_path / "config.json").write_text('{"depth": 8}')
    with pytest.raises(RunFolderError, match="damaged, or is not the settings of a run"):
        minisd.load_model(tmp_path)


def fit_own(out, block=ResidualBlock, branch="basic"):
    model = resnet(
        8, width=2, in_channels=1, block=block, branch=branch, rng=np.random.default_rng(0)
    )
    dataset = data.load("digits").limited(60)
    return minisd.fit(model, SGD(model, 0.1), dataset, epochs=1, out=out, quiet=True)


def test_own_code_is_handed_over_and_never_brought_by_a_run(tmp_path):
    own = fit_own(tmp_path, OwnBlock, own_branch)
    for handed, missing in (({}, "branch"), ({"branch": own_branch}, "block")):
        name = {"branch": "own_branch", "block": "OwnBlock"}[missing]
        with pytest.raises(ConfigError, match=rf"{name}, and a run never brings code.*{missing}="):
            minisd.load_model(tmp_path, **handed)
    model = minisd.load_model(tmp_path, branch=own_branch, block=OwnBlock)
    assert {type(block) for block in model.blocks} == {OwnBlock}
    assert bits(checkpoint.layer_arrays(model)) == bits(own.best_arrays)


def test_blocks_of_this_package_need_not_be_handed_over(tmp_path):
    fit_own(tmp_path, PreActBlock, preact_branch)
    assert isinstance(minisd.load_model(tmp_path).blocks[0], PreActBlock)


def test_a_network_that_resnet_did_not_make(tmp_path):
    own = fit_own(tmp_path / "resnet").model
    own.made_with = None
    dataset = data.load("digits").limited(60)
    minisd.fit(own, SGD(own, 0.1), dataset, epochs=1, out=tmp_path / "own", quiet=True)
    with pytest.raises(ConfigError, match=r"make it yourself, and call minisd.load_weights"):
        minisd.load_model(tmp_path / "own")
    model = resnet(8, width=2, in_channels=1, rng=np.random.default_rng(7))
    minisd.load_weights(model, tmp_path / "own", "last")
    np.testing.assert_array_equal(model.head.w.data, own.head.w.data)
    assert model.normaliser.std > 0


# ---- starting from another run's weights ----


def test_init_starts_from_the_best_weights_and_says_so(run, tmp_path):
    trained, folder = run
    started = train(tiny(epochs=1, init=str(folder), lr=0.01, survival="constant"), tmp_path / "b")
    model = Run(tiny(epochs=1)).model
    note = start_from(model, folder)
    assert bits(checkpoint.layer_arrays(model)) == bits(trained.best_arrays)
    saved = json.loads((tmp_path / "b" / "config.json").read_text())
    assert saved["init"] == str(folder)
    assert saved["origin"]["init"] == started.origin["init"] == note
    assert note["epoch"] == trained.best["epoch"]
    assert len(note["digest"]) == 32


@pytest.mark.slow
def test_it_goes_on_without_the_other_run_once_it_has_a_checkpoint(run, tmp_path):
    shutil.copytree(run[1], tmp_path / "a")
    train(tiny(epochs=1, init=str(tmp_path / "a")), tmp_path / "b")
    whole = contents(tmp_path / "b")
    (tmp_path / "b" / "checkpoint.npz").unlink()  # as after a kill before the first checkpoint
    (tmp_path / "b" / "log.jsonl").unlink()
    resume(tmp_path / "b")
    again = outcome(tmp_path / "b")
    (tmp_path / "b" / "checkpoint.npz").write_bytes(whole["checkpoint.npz"])
    (tmp_path / "b" / "log.jsonl").write_bytes(whole["log.jsonl"])
    assert again == outcome(tmp_path / "b")
    (tmp_path / "b" / "checkpoint.npz").unlink()
    (tmp_path / "b" / "log.jsonl").unlink()
    train(tiny(epochs=1, seed=9), tmp_path / "a", force=True)
    with pytest.raises(CheckpointError, match="other weights than those that this run has started"):
        resume(tmp_path / "b")
    (tmp_path / "b" / "checkpoint.npz").write_bytes(whole["checkpoint.npz"])
    shutil.rmtree(tmp_path / "a")
    assert resume(tmp_path / "b", {"epochs": 2}).is_complete


def test_init_from_another_shape_is_a_sentence_per_difference(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"blocks.0.branch.0.w is \(2, 2.*there.*and 32 more"):
        train(tiny(width=4, init=str(run[1])), tmp_path / "b")
    with pytest.raises(ConfigError, match="is the folder of the new run"):
        train(tiny(init=str(tmp_path / "b")), tmp_path / "b", force=True)
    assert not (tmp_path / "b").exists()


def test_a_classifier_of_other_classes_is_drawn_anew_and_that_is_said(run):
    trained, folder = run
    model = resnet(8, width=2, in_channels=1, num_classes=3, rng=np.random.default_rng(0))
    head = model.head.w.data.copy()
    (remark,) = start_from(model, folder)["remarks"]
    assert "head.b is (10,) float32 there, (3,) float32 here" in remark
    np.testing.assert_array_equal(model.head.w.data, head)
    np.testing.assert_array_equal(model.stem.layers[0].w.data, trained.best_arrays["stem.0.w"])
