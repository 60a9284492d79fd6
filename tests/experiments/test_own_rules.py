"""A study of one's own survival rules: labels, probabilities, and what is saved of them."""

import json

import pytest

from minisd import Study, cosine_decay, linear_decay
from minisd.errors import ConfigError
from minisd.experiments.own_rules import probabilities, slug
from minisd.runs.session import resume, train
from tiny_studies import study


@pytest.fixture
def in_this_process(monkeypatch):
    """Train without processes of their own, as that is quicker; return the settings by folder."""
    trained = {}

    def train_all(jobs, **_):
        for folder, config in jobs.items():
            if not (folder / "config.json").exists():
                train(config, folder)
            trained[folder.name] = config
        return {}

    monkeypatch.setattr("minisd.experiments.study.train_all", train_all)
    return trained


def tiny(out, **changes):
    return study(out, epochs=1, limit=60, flow=None, **changes)


def test_runs_by_label(in_this_process, tmp_path):
    mine = [1.0, 0.9, 0.6]
    runs = tiny(tmp_path).runs({"my rule!": mine, "cosine": cosine_decay}, seeds=[1, 2])
    assert [(run.label, run.rule, run.p_last, run.seed) for run in runs] == [
        *(("my rule!", "my rule!", 0.6, seed) for seed in (1, 2)),
        *(("cosine", "cosine", 0.5, seed) for seed in (1, 2)),
    ]
    assert [run.name for run in runs[1:3]] == ["digits-8-my-rule-seed2", "digits-8-cosine-seed1"]
    for run in runs:
        saved = json.loads((run.folder / "config.json").read_text())
        probs = mine if run.rule == "my rule!" else cosine_decay(3)
        assert saved["survival"] == saved["resolved"]["survival_probs"] == probs
        assert 0 <= run.best["val_error"] <= 1
    assert resume(runs[0].folder).is_complete  # from what is saved alone

    again = tiny(tmp_path).runs({"my rule!": tuple(mine)}, seeds=[1])
    assert again[0].folder == runs[0].folder
    with pytest.raises(ConfigError, match=r"is a run with survival \[1.0, 0.9, 0.6\], but this"):
        tiny(tmp_path).runs({"my rule!": [1.0, 0.9, 0.5]}, seeds=[1])


def test_the_processes_are_given_the_probabilities(tmp_path):
    """And the depth follows from them, if none was chosen."""
    plain = {k: v for k, v in study(tmp_path).changes.items() if k != "depth"}
    jobs = []
    ours = Study(tmp_path, size="quick", quiet=True, **plain)
    ours.train = lambda wanted: jobs.extend(wanted) or []
    ours.runs({"a": linear_decay(9), "b": "uniform", "c": ("linear", 0.8)}, seeds=[4])
    assert [(label, seed, len(changes["survival"])) for label, _, seed, changes in jobs] == [
        ("a", 4, 9), ("b", 4, 9), ("c", 4, 9)]  # fmt: skip
    config = ours.config(*jobs[2][:3], **jobs[2][3])
    assert (config.depth, config.seed, config.shortcut) == (20, 4, "A")
    assert config.survival == tuple(linear_decay(9, 0.8))


def test_todays_pairs_go_on_working(in_this_process, tmp_path):
    (run,) = tiny(tmp_path).runs([("linear", 0.5)])
    assert (run.name, run.label) == ("digits-8-linear-0.5-seed1", "linear $p_L$ = 0.5")
    assert in_this_process[run.name].survival == "linear"


@pytest.mark.slow
def test_one_line_trains_in_processes(tmp_path):
    runs = tiny(tmp_path).runs({"mine": [1, 0.9, 0.8], "linear": linear_decay(3)}, seeds=[1])
    assert [len(run.log) for run in runs] == [1, 1]
    assert runs[0].config["survival"] == [1.0, 0.9, 0.8]


WRONG = {
    "no label": ({"!?": [1, 1, 1]}, "a label of a study is a text"),
    "a number": ({3: [1, 1, 1]}, "a label of a study is a text"),
    "a long label": ({"x" * 101: [1, 1, 1]}, "1 to 100 letters"),
    "nothing": ({}, "at least one rule"),
    "the same folder": ({"a b": "linear", "A-b": "uniform"}, "labels that differ"),
    "a probability": ({"a": [1, 2, 1]}, r"'a': survival probabilities must lie in \[0, 1\]"),
    "a name": ({"a": "linaer"}, "'a': there is no survival rule 'linaer'"),
    "a number of them": ({"a": [1, 1]}, "'a': 3 blocks need as many survival probabilities"),
    "a rule": ({"a": lambda L: [1]}, "'a': the survival rule <lambda> must give 3 probabilities"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_trained_is_said(wrong, tmp_path):
    rules, sentence = WRONG[wrong]
    with pytest.raises(ConfigError, match=sentence):
        study(tmp_path / "out").runs(rules)
    assert not (tmp_path / "out").exists()


def test_lists_that_fit_no_network_are_said():
    with pytest.raises(ConfigError, match="same number of blocks, not 3 for 'a', 6 for 'b'"):
        probabilities({"a": [1] * 3, "b": [1] * 6}, 3, depth_is_given=False)
    with pytest.raises(ConfigError, match="4 survival probabilities fit no network: a network"):
        probabilities({"a": [1] * 4}, 3, depth_is_given=False)
    assert slug("p_L = 0.5, mine") == "p_L-0.5-mine"
