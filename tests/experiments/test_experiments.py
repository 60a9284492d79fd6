"""What the experiments find: files, captions, and numbers against a computation of the test's."""

import itertools
import json
import re
import shlex
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from minisd.cli import main, make_parser
from minisd.experiments import pool, training_time
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.depth_distribution import DRAWS, open_counts
from minisd.experiments.gradients_by_depth import RULES
from minisd.experiments.study import Study
from minisd.experiments.trained import TrainedRun
from minisd.runs import session
from minisd.runs.run import Run
from minisd.stochastic_depth import linear_decay, uniform
from tiny_runs import is_one_sentence, read_log
from tiny_studies import (
    CONSTANT,
    EPOCHS,
    LINEAR,
    OF_EXPERIMENTS,
    STEPS_PER_EPOCH,
    L,
    again,
    arguments,
    flow,
    numbers,
    of,
    rows,
    study,
)


def test_the_command_alone_lists_the_experiments(capsys):
    assert main(["experiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*EXPERIMENTS, "all"]
    assert all(len(line.split()) >= 5 for line in lines)
    assert max(map(len, lines)) <= 80
    assert len(EXPERIMENTS) == 10


def test_an_unknown_experiment_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["experiment", "gradient"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said == "minisd: unknown name 'gradient'; did you mean 'gradients'?\n"


LONG = ("gradients-by-depth", "survival", "shattered-gradients", "lesion")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in EXPERIMENTS]
)
def test_figure_and_numbers_say_what_they_are_of(made, name):
    out = made(name)
    first, header, *lines = (out / f"{name}.csv").read_text().splitlines()
    caption = first.removeprefix("# ")
    assert re.search(r"\b[Dd]epths? ([0-9, ]+, )?14\b.*; seed 1\. Made by: ", caption)
    assert "Data: digits" in caption
    assert ("(not used)" in caption) == (name == "depth-distribution")
    line = shlex.split(re.search(r"minisd (experiment .*)", caption)[1])
    parsed = vars(make_parser().parse_args(line))
    assert (parsed["name"], parsed["size"], parsed["limit"]) == (name, "quick", 480)
    assert len(lines) >= 4
    assert all(line.count(",") == header.count(",") for line in lines)
    with Image.open(out / f"{name}.png") as image:
        assert image.text["Description"] == caption
    tree = ElementTree.parse(out / f"{name}.svg")
    assert tree.find(".//{http://purl.org/dc/elements/1.1/}description").text == caption
    assert not list(out.glob(".*.part"))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * (n in LONG))
        for n in sorted({*EXPERIMENTS} - {"training-time"})
    ],
)
def test_the_same_runs_make_the_same_bytes(made, tmp_path, name):
    out = made(name)
    copy = again(out, tmp_path / "copy")
    assert main(arguments(copy, name, **OF_EXPERIMENTS)) == 0
    for kind in ("csv", "svg"):
        assert (copy / f"{name}.{kind}").read_bytes() == (out / f"{name}.{kind}").read_bytes()
    assert {run.name for run in (copy / "runs").iterdir()} <= {
        run.name for run in (out / "runs").iterdir()
    }


def test_gradients_are_the_means_over_all_steps_of_an_epoch(made, tmp_path):
    out = made("gradients")
    config = study(out, **{**OF_EXPERIMENTS, "flow": 1}).config(
        "linear", 0.5, 1
    )  # every step by itself
    session.train(config, tmp_path / "run")
    names, records = flow(tmp_path / "run")
    found = of(rows(out, "gradients"), rule="linear")
    assert [row["epoch"] for row in found] == ["1", "2"]
    for number, (row, entry) in enumerate(zip(found, read_log(out / "runs" / LINEAR), strict=True)):
        steps = records[number * STEPS_PER_EPOCH : (number + 1) * STEPS_PER_EPOCH]

        def mean(statistic, place, steps=steps):
            return np.mean([s[statistic][place] for s in steps if s[statistic][place] is not None])

        stem = mean("grad_mean", names.index("stem.0.w"))
        expected = {
            "stem": stem,
            "block": mean("grad_mean", names.index("blocks.0.branch.0.w")),
            "stem_by_loss": stem / entry["train_loss"],
            "first_by_last": mean("block_grad_mean", 0) / mean("block_grad_mean", L - 1),
            "train_loss": np.mean([s["loss"] for s in steps]),
        }
        for column, value in expected.items():
            assert float(row[column]) == pytest.approx(value, rel=1e-6), column


def test_the_chosen_epoch_is_the_one_of_lowest_validation_error(made):
    out = made("learning-curves")
    found = rows(out, "learning-curves")
    assert len(found) == 3 * EPOCHS
    for rule, p, run in (("constant", 1.0, CONSTANT), ("linear", 0.5, LINEAR)):
        mine = of(found, rule=rule, p_last=p)
        for column in ("epoch", "val_error", "test_error", "train_loss", "lr", "mean_open"):
            assert list(numbers(mine, column)) == [
                entry[column] for entry in read_log(out / "runs" / run)
            ]
        errors = numbers(mine, "val_error").tolist()
        chosen = errors.index(min(errors))
        assert [int(row["chosen"]) for row in mine] == [int(i == chosen) for i in range(EPOCHS)]


WITHIN = [(4, 0.1, 0.15), (6, 0.1, 0.1), (8, 0.3, 0.3)]
"""Step, validation and test error."""


def entry(epoch, val_error, test_error, **more):
    other = dict.fromkeys(("train_loss", "lr", "seconds", "mean_open"), 1.0)
    return {"epoch": epoch, "val_error": val_error, "test_error": test_error, **other, **more}


@pytest.mark.parametrize(
    ("log", "x", "test_error"),
    [
        ([entry(1, 0.3, 0.3), entry(2, 0.2, 0.25), entry(3, 0.2, 0.1)], 2, 0.25),
        (
            [
                entry(1, 0.3, 0.3, evaluations=[entry(1, e, t, step=s) for s, e, t in WITHIN]),
                entry(2, 0.2, 0.1, evaluations=[entry(2, 0.2, 0.1, step=16)]),
            ],
            0.5,
            0.15,
        ),
    ],
    ids=["the earliest of equals", "within an epoch"],
)
def test_the_best_evaluation_is_that_of_the_command(tmp_path, log, x, test_error):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    counts = dict.fromkeys(("num_blocks", "training_images", "test_images"), 1)
    config = {"epochs": len(log), "resolved": {"steps_per_epoch": 8, **counts}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    best = TrainedRun(tmp_path, ("linear", 0.5, 1), {}).best
    assert (best["x"], best["test_error"]) == (x, test_error)


COMBINATIONS = {("linear", "8"), ("linear", "14"), ("uniform", "14")}


def survival_table(out):
    found = rows(out, "survival")
    table = {(row["rule"], row["depth"], row["p_last"]): float(row["test_error"]) for row in found}
    assert len(table) == len(found)
    return table


def test_survival_has_a_row_for_every_combination(made):
    table = survival_table(made("survival"))
    assert table.keys() == {(*key, p) for key in COMBINATIONS for p in ("0.5", "1.0")}
    assert table["linear", "14", "1.0"] == table["uniform", "14", "1.0"]  # constant depth, both


def test_survival_leaves_a_failed_run_out(made, tmp_path, monkeypatch, capsys):
    whole = made("survival")
    (name,) = (run.name for run in (whole / "runs").glob("*-uniform-*"))
    out = again(whole, tmp_path / "out", without=name)
    monkeypatch.setattr(pool, "command", lambda *_: [sys.executable, "-c", "exit(1)"])
    assert main(arguments(out, "survival", **OF_EXPERIMENTS)) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert f"{name}: ended with exit code 1" in said
    expected = survival_table(whole)
    del expected["uniform", "14", "0.5"]
    assert survival_table(out) == expected
    assert (out / "survival.png").exists()


def test_open_blocks_are_distributed_as_they_should(made):
    found = rows(made("depth-distribution"), "depth-distribution")
    draws = DRAWS["quick"]
    rules = {("linear", 0.5): linear_decay(L), ("linear", 0.8): linear_decay(L, 0.8)}
    rules["uniform", 0.5] = uniform(L)
    for (rule, p_last), probs in rules.items():
        mine = of(found, rule=rule, p_last=p_last)
        exact = np.zeros(L + 1)
        for gates in itertools.product([False, True], repeat=L):
            exact[sum(gates)] += np.prod(np.where(gates, probs, 1 - np.array(probs)))
        assert list(numbers(mine, "open")) == list(range(L + 1))
        np.testing.assert_allclose(numbers(mine, "probability"), exact)
        np.testing.assert_allclose(numbers(mine, "expected_depth"), sum(probs))
        share = numbers(mine, "share")
        assert share.sum() == pytest.approx(1)
        assert (abs(share - exact) <= 5 * np.sqrt(exact * (1 - exact) / draws)).all()
        assert open_counts(probs, 100, np.random.default_rng(0)).sum() == 100


def gates_of(out, rule, p_last, steps):
    """(L, steps), drawn as the run draws them."""
    run = Run(study(out, **OF_EXPERIMENTS).config(rule, p_last, 1))
    draws = [run.gate_rng.random(L) for _ in range(steps)]
    return np.transpose(draws) < np.array(run.model.survival_probs)[:, None]


@pytest.mark.parametrize(("rule", "p_last"), RULES)
def test_there_is_a_gradient_by_depth_just_where_the_gate_was_open(made, rule, p_last):
    out = made("gradients-by-depth")
    found = of(rows(out, "gradients-by-depth"), rule=rule)
    for when, unit in (("first steps", "step"), ("by epoch", "epoch")):
        mine = of(found, when=when)
        columns = int(numbers(mine, unit).max())
        assert columns == {"step": 12, "epoch": EPOCHS}[unit]
        table = np.full((1 + 2 * L, columns), -1.0)
        for row, value in zip(mine, numbers(mine, "grad_mean"), strict=True):
            table[int(row["layer"]) - 1, int(row[unit]) - 1] = value
        assert (np.isnan(table) | (table >= 0)).all()
        gates = gates_of(out, rule, p_last, STEPS_PER_EPOCH * EPOCHS)
        if unit == "step":
            is_open = gates[:, :columns]
            assert is_open.all() == (rule != "linear")
        else:
            is_open = gates.reshape(L, EPOCHS, STEPS_PER_EPOCH).any(axis=2)
        expected = np.concatenate([np.ones((1, columns), bool), np.repeat(is_open, 2, axis=0)])
        np.testing.assert_array_equal(~np.isnan(table), expected)


def test_the_line_through_step_times_by_hand():
    def times(*points):
        return [{"figure": "open blocks", "x": x, "seconds": y} for x, y in points]

    other = [{"figure": "p_L", "x": 1.0, "seconds": 99.0}]
    exact = training_time.line(times((0, 2), (1, 5), (2, 8), (4, 14)) + other)
    np.testing.assert_allclose(exact, (3, 2, 1))
    np.testing.assert_allclose(training_time.line(times((0, 0), (1, 2), (2, 1))), (0.5, 0.5, 0.25))


def test_times_are_of_every_number_of_open_blocks_and_every_p(made):
    found = rows(made("training-time"), "training-time")
    opened, drawn = (of(found, figure=figure) for figure in ("open blocks", "p_L"))
    assert list(numbers(opened, "x")) == list(range(L + 1))
    p = numbers(drawn, "x")
    assert list(p) == sorted(training_time.PROBS)
    np.testing.assert_allclose(numbers(drawn, "expected"), 1 - (1 - p) * (L + 1) / (2 * L))
    assert (numbers(found, "seconds") > 0).all()


def test_times_of_one_device_are_not_taken_for_anothers(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Study, "each", lambda self, name, keys, compute: asked.append({*keys}))
    monkeypatch.setattr(training_time, "resolve_device", lambda device: (device, "a GPU"))
    for device in ("cpu", "cuda"):
        with pytest.raises(AttributeError):  # there is nothing to draw
            training_time.run(study(tmp_path, device=device))
    on_cpu, on_cuda = asked
    assert not on_cpu & on_cuda
