"""What experiments share: settings, remembered results, the command that makes a figure again."""

import json
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from minisd.cli import main, make_parser
from minisd.errors import ConfigError, UserError
from minisd.experiments import gradients_by_depth, training_time
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.publish import Result
from minisd.experiments.study import Study
from minisd.runs.interrupt import Interrupted
from tiny_runs import is_one_sentence
from tiny_studies import arguments, numbers, of, rows, study


@pytest.mark.parametrize("processes", [0, -1])
def test_a_number_of_processes_that_is_none_is_refused(tmp_path, processes):
    with pytest.raises(ConfigError, match="processes"):
        Study(tmp_path, processes=processes)


def test_a_setting_that_a_study_does_not_have_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="momentum"):
        Study(tmp_path, momentum=0.5)
    with pytest.raises(ConfigError, match="small"):
        Study(tmp_path, size="small")


@pytest.mark.parametrize("seeds", [["1", "-1"], ["2", "2"], ["-1"]])
def test_seeds_that_are_none_are_refused(tmp_path, seeds, capsys):
    assert main([*arguments(tmp_path / "out", "depth-distribution"), "--seeds", *seeds]) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"depth": 9}, {"lr": 0}, {"flow": 0}, {"data": "svhn"}])
def test_settings_that_make_no_study_are_refused(tmp_path, wrong, capsys):
    assert main(arguments(tmp_path / "out", "gradients", **wrong)) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


# Remembered results


def test_results_are_computed_once(tmp_path):
    keys = ["a/1", "b/2"]
    asked = []

    def compute(key):
        asked.append(key)
        return {"of": key, "numbers": [1.5, None]}

    found = study(tmp_path).each("name", keys, compute)
    assert found == study(tmp_path).each("name", keys, compute)
    assert found == {key: {"of": key, "numbers": [1.5, None]} for key in keys}
    assert asked == keys
    study(tmp_path).each("other", keys, compute)
    assert study(tmp_path).each("name", ["c/3", "b/2"], compute).keys() == {"c/3", "b/2"}
    assert asked == [*keys, *keys, "c/3"]
    assert list(study(tmp_path).each("name", ["c/3", "a/1"], compute)) == ["c/3", "a/1"]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_torn_last_line_is_dropped(tmp_path, cut):
    study(tmp_path).each("name", ["a", "b"], lambda key: key)
    path = tmp_path / "name.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert study(tmp_path).each("name", ["a", "b"], lambda key: "again") == {"a": "a", "b": "again"}
    lines = [json.loads(line)[:2] for line in path.read_text().splitlines()]
    assert lines == [["a", "a"], ["b", "again"]]


def test_a_result_that_was_changed_is_told_of(tmp_path):
    study(tmp_path).each("name", ["a", "b"], lambda key: [1, 2])
    path = tmp_path / "name.jsonl"
    path.write_text(path.read_text().replace('["b", [1, 2]', '["b", [1, 3]'))
    with pytest.raises(UserError, match=r"name\.jsonl is damaged.*line 2.*remove it"):
        study(tmp_path).each("name", ["a"], lambda key: key)


def test_results_of_a_version_without_checksums_are_computed_again(tmp_path):
    (tmp_path / "name.jsonl").write_text('["a", 1]\n')
    for _ in range(2):
        assert study(tmp_path).each("name", ["a"], lambda key: 2) == {"a": 2}


def test_damaged_results_are_told_of(tmp_path):
    (tmp_path / "name.jsonl").write_text('damaged\n["a", 1]\n')
    with pytest.raises(UserError, match=r"name\.jsonl"):
        study(tmp_path).each("name", ["a"], lambda key: key)
    assert "damaged" in (tmp_path / "name.jsonl").read_text()


def test_an_interruption_keeps_what_was_done(tmp_path):
    now = study(tmp_path)

    def compute(key):
        assert key != "c"
        if key == "b":
            now.stop.received = signal.SIGINT
        return key

    with pytest.raises(Interrupted):
        now.each("name", "abc", compute)
    again = []
    study(tmp_path).each("name", "abc", again.append)
    assert again == ["c"]


def test_the_fingerprint_is_of_what_is_trained_and_not_of_where(tmp_path):
    plain = study(tmp_path).fingerprint(1)
    for changes in ({"data_dir": "elsewhere"}, {"device": "auto"}):
        assert study(tmp_path / "elsewhere", **changes).fingerprint(1) == plain
    others = [{"width": 3}, {"lr": 0.01}, {"limit": None}, {"epochs": 3}, {"depth": 14}]
    found = {study(tmp_path, **changes).fingerprint(1) for changes in others}
    assert len(found | {plain, study(tmp_path).fingerprint(2)}) == len(others) + 2


# The command that makes a figure again


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ("laptop", {}),
        ("quick", {"seeds": [3, 1], "lr": 0.025, "width": 4}),
        ("laptop", {"data": "cifar10", "limit": None, "flow": 7}),
        ("laptop", {"data": "svhn", "limit": 500, "batch_size": 16}),
        ("paper", {"data": "cifar100", "depth": 20, "epochs": 3, "device": "auto"}),
    ],
)
def test_the_command_in_the_caption_makes_the_same_study(tmp_path, size, changes):
    ours = Study(tmp_path, size=size, data_dir="some where", **changes)
    said = ours.command("lesion")
    assert ("--limit all" in said) == ("limit" in changes and changes["limit"] is None)
    program, *arguments = shlex.split(said)
    parsed = vars(make_parser().parse_args(arguments))
    assert (program, parsed.pop("name"), parsed.pop("out")) == ("minisd", "lesion", Path("DIR"))
    parsed.pop("command")
    theirs = Study(tmp_path, **parsed)
    settings = {k: v for k, v in ours.settings.items() if k != "data_dir"}
    assert theirs.settings == settings
    assert (theirs.seeds, theirs.size, theirs.scale) == (ours.seeds, ours.size, ours.scale)
    assert theirs.command("lesion") == said


# What is asked for is used, or said


@pytest.mark.slow
def test_every_seed_is_in_the_figure_and_its_numbers(tmp_path):
    """Of the experiments that had used the first one only."""
    for name in ("gradients-by-depth", "depth-distribution"):
        assert main([*arguments(tmp_path, name), "--seeds", "1", "2"]) == 0
        found = rows(tmp_path, name)
        assert {row["seed"] for row in found} == {"1", "2"}
    drawn = gradients_by_depth.run(study(tmp_path, seeds=(1, 2))).figure.axes[1].images[0]
    mine = of(rows(tmp_path, "gradients-by-depth"), rule="constant", when="first steps")
    both = [numbers(of(mine, seed=seed), "grad_mean") for seed in (1, 2)]
    np.testing.assert_allclose(drawn.get_array().ravel(), np.mean(both, axis=0))


def test_time_is_measured_for_every_seed(tmp_path, monkeypatch):
    seeds = []
    original = training_time.Stopwatch.__init__

    def watched(self, study, seed):
        seeds.append(seed)
        original(self, study, seed)

    monkeypatch.setattr(training_time.Stopwatch, "__init__", watched)
    training_time.run(study(tmp_path, seeds=(3, 1)))
    assert seeds == [3, 1]


@pytest.mark.parametrize(
    ("name", "said"),
    [("depth-distribution", "--width, --epochs, --limit, --batch-size, --flow, --processes"),
     ("shattered-gradients", "--epochs, --batch-size, --flow, --processes"),
     ("training-time", "--epochs, --flow, --processes"),
     ("gradients", "")],
)  # fmt: skip
def test_an_option_that_is_of_no_use_is_named(tmp_path, name, said, capsys, monkeypatch):
    result = Result(lambda: None, [{"x": 1}], "nothing")
    monkeypatch.setattr(EXPERIMENTS[name], "run", lambda study: result)
    assert main(arguments(tmp_path, name)) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert (said in first and "makes no use of" in first) == bool(said)
