"""What experiments measure on networks, trained or new; and what their figures show of it."""

import itertools

import numpy as np
import pytest

from minisd.cli import make_parser
from minisd.experiments import ensemble, gradients_by_depth, lesion, shattered
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.ensemble import errors_of_averages, member_gates
from minisd.experiments.lesion import kendall, lesions, shuffled_order
from minisd.experiments.study import Study
from minisd.experiments.trained import TrainedRun
from minisd.runs.fit import error_rate
from minisd.surgery import FixedBlock
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

RULES = {"constant": (1.0, CONSTANT), "linear": (0.5, LINEAR)}
ORDER = [[0, 1, 2], [4, 5]]


def result(out, name):
    """Let an experiment find again what it found, without writing it down."""
    parsed = vars(make_parser().parse_args(arguments(out, name, **OF_EXPERIMENTS)))
    changes = {key: value for key, value in parsed.items() if key not in ("command", "name")}
    return EXPERIMENTS[name].run(Study(**changes))


def trained(out, rule):
    p_last, name = RULES[rule]
    return TrainedRun(out / "runs" / name, (rule, p_last, 1), {"data_dir": "data"})


# Lesions


def check_lesions(out, found, rule):
    """A branch whose last batch norm gives 0 is a branch that is not there."""
    found = of(found, rule=rule)
    run = trained(out, rule).load()
    images = run.test[: lesion.SIZES["quick"]["images"]]
    (whole,) = of(found, figure="none")
    assert float(whole["y"]) == error_rate(run, images)
    for number, (row, block) in enumerate(
        zip(of(found, figure="block"), run.model.blocks, strict=True)
    ):
        assert (int(row["amount"]), float(row["x"])) == (number, number + 1)
        last = block.branch.layers[-1]
        gamma, beta = last.gamma.data, last.beta.data
        last.gamma.data, last.beta.data = 0 * gamma, 0 * beta
        assert float(row["y"]) == error_rate(run, images)
        last.gamma.data, last.beta.data = gamma, beta


@pytest.mark.parametrize("rule", RULES)
def test_errors_after_a_lesion_are_those_of_a_network_with_silent_branches(made, rule):
    out = made("lesion")
    check_lesions(out, rows(out, "lesion"), rule)


def test_a_planted_error_of_the_lesion_study_is_found(made, tmp_path, monkeypatch):
    out = again(made("lesion"), tmp_path / "out")
    monkeypatch.setattr(FixedBlock, "forward", lambda self, x: self.block.shortcut.forward(-x))
    monkeypatch.setitem(lesion.SIZES["quick"], "repeats", 1)
    found = result(out, "lesion").rows
    with pytest.raises(AssertionError):
        check_lesions(out, found, "constant")


@pytest.mark.parametrize("rule", RULES)
def test_a_lesion_study_has_every_lesion(made, rule):
    found = of(rows(made("lesion"), "lesion"), rule=rule)
    counts = {figure: len(of(found, figure=figure)) for figure in {row["figure"] for row in found}}
    assert counts == {
        "none": 1, "block": L, "random": 5 * 2, "swaps": 6 * 2, "share": L + 1,
        "norm along a path": L + 1,
    }  # fmt: skip
    assert sorted({*numbers(of(found, figure="random"), "amount")}) == [1, 2, 3, 4, 5]
    assert (abs(numbers(of(found, figure="swaps"), "x")) == 1).all()  # of two blocks
    shares = numbers(of(found, figure="share"), "y")
    norms = numbers(of(found, figure="norm along a path"), "y")
    paths = np.poly(-np.ones(L))  # binomials
    np.testing.assert_allclose(shares, norms * paths / (norms * paths).sum())


def test_three_blocks_of_three_shapes_have_a_figure_without_swaps():
    key = {"rule": "linear", "p_last": 0.5, "repetition": 0}
    found = [{**key, "figure": "none", "amount": 0, "x": 0, "y": 0.1}]
    for figure, amount in (("block", 1), ("random", 1), ("share", "")):
        found.append({**key, "figure": figure, "amount": amount, "x": 1, "y": 0.3})
    swaps = lesion.draw(found).axes[2]
    assert not [line for line in swaps.lines if len(line.get_xdata()) > 2]


def test_lesions_are_listed_once():
    for num_blocks in (3, 6, 9, 54):
        plans = lesions(num_blocks, True, 2)
        assert len(set(plans)) == len(plans)
        amounts = [int(plan.split("/")[1]) for plan in plans if plan.startswith("random")]
        assert all(1 <= k <= num_blocks for k in amounts)
    assert not any(plan.startswith("swaps") for plan in lesions(3, False, 2))


def test_kendall_by_hand():
    assert kendall(ORDER, [0, 1, 2, 3, 4, 5]) == 1
    assert kendall(ORDER, [2, 1, 0, 3, 5, 4]) == -1
    assert kendall(ORDER, [1, 0, 2, 3, 4, 5]) == (3 - 1) / 4
    assert kendall(ORDER, [2, 1, 0, 3, 4, 5]) == (1 - 3) / 4


def test_swaps_stay_within_a_row(rng):
    assert shuffled_order(ORDER, 6, 0, rng) == list(range(6))
    orders = [shuffled_order(ORDER, 6, 8, rng) for _ in range(50)]
    for order in orders:
        assert order[3] == 3
        assert sorted(order[:3]) == [0, 1, 2]
        assert sorted(order[4:]) == [4, 5]
    assert len({tuple(order) for order in orders}) == 6  # an even number of swaps
    assert {tuple(shuffled_order([[4, 5]], 6, 1, rng)) for _ in range(5)} == {(0, 1, 2, 3, 5, 4)}


# Ensembles


def probabilities(rng, M=5, N=40):
    found = rng.random((M, N, 10))
    return found / found.sum(axis=2, keepdims=True), rng.integers(0, 10, N)


def test_errors_of_averages_begin_with_a_members_own_and_end_with_that_of_all(rng):
    members, labels = probabilities(rng)
    errors = errors_of_averages(members, labels, rng)
    assert errors.shape == (ensemble.SHUFFLES, 5)
    own = {(member.argmax(axis=1) != labels).mean() for member in members}
    assert {*errors[:, 0]} == own
    assert {*errors[:, -1]} == {(members.mean(axis=0).argmax(axis=1) != labels).mean()}


def test_the_average_of_identical_members_is_one_of_them(rng):
    members, labels = probabilities(rng, M=1)
    own = (members[0].argmax(axis=1) != labels).mean()
    assert (errors_of_averages(np.repeat(members, 4, axis=0), labels, rng) == own).all()


def test_members_are_drawn_as_in_training():
    probs = [0.9, 0.5, 0.0, 1.0]
    drawn = np.array([member_gates(probs, 1, member) for member in range(400)])
    assert (abs(drawn.mean(axis=0) - probs) <= 5 * np.sqrt(0.25 / 400) * (drawn.std(0) > 0)).all()
    assert member_gates(probs, 1, 7) == member_gates(probs, 1, 7)


def test_an_ensemble_is_of_sub_networks_and_beside_it_the_whole(made):
    out = made("ensemble")
    found = rows(out, "ensemble")
    size = ensemble.SIZES["quick"]
    assert list(numbers(found, "members")) == list(range(1, size["members"] + 1))
    run = trained(out, "linear").load()
    images = run.test[: size["images"]]
    assert {*numbers(found, "p_scaled")} == {error_rate(run, images)}
    probs, own = run.model.survival_probs, []
    for member in range(size["members"]):
        gates = member_gates(probs, 1, member)
        for block, gate in zip(run.model.blocks, gates, strict=True):
            block.survival_prob = float(gate)  # p of evaluation: 1 or 0
        own.append(error_rate(run, images))
    assert float(found[0]["lowest"]) >= min(own)
    assert float(found[0]["highest"]) <= max(own)
    assert {float(found[0][side]) for side in ("lowest", "highest")} <= {*own}
    assert found[-1]["lowest"] == found[-1]["highest"]


# Networks at initialisation, gradients of every layer, updates


def test_shattered_gradients_have_every_network_and_lag(made):
    found = rows(made("shattered-gradients"), "shattered-gradients")
    size = shattered.SIZES["quick"]
    depths = {*size["depths"], OF_EXPERIMENTS["depth"]}
    for (rule, p_last), depth in itertools.product(shattered.RULES, depths):
        mine = of(found, rule=rule, p_last=p_last, depth=depth, networks=size["draws"])
        line, (independent,) = of(mine, figure="line"), of(mine, figure="independent")
        assert list(numbers(line, "lag")) == list(range(size["points"]))
        correlations = numbers(line, "correlation")
        assert correlations[0] == pytest.approx(1)
        assert (abs(correlations[: size["points"] // 2]) <= 1.5).all()
        assert abs(float(independent["correlation"])) < 1
    theory = of(found, rule="fully connected")
    relus = numbers(theory, "depth") - 1
    assert list(relus) == list(range(1, shattered.DEEPEST + 1))
    away = numbers(theory, "correlation") - 2.0**-relus
    assert (abs(away) < 5 * numbers(theory, "error") + 1 / size["points"]).all()
    assert len(found) == 3 * len(depths) * (size["points"] + 1) + shattered.DEEPEST


def test_first_steps_go_on_over_the_end_of_an_epoch(tmp_path):
    few = study(tmp_path, limit=70, batch_size=32)  # 63 for training: 2 steps
    table = gradients_by_depth.first_steps(few, "linear", 0.5, 5)
    assert np.shape(table) == (7, 5)


@pytest.mark.parametrize("rule", RULES)
def test_update_ratios_of_all_convolutions_are_those_recorded(made, rule):
    out = made("update-ratios")
    names, records = flow(trained(out, rule).folder)
    weights = [i for i, name in enumerate(names) if name.endswith(".w") and name != "head.w"]
    assert len(weights) == 1 + 2 * L
    expected = [
        [str(record["step"]), names[i], record["update_ratio"][i]]
        for record in records
        for i in weights
    ]
    assert [record["steps"] for record in records] == [3] * (EPOCHS * STEPS_PER_EPOCH // 3)
    found = of(rows(out, "update-ratios"), rule=rule)
    assert [
        [row["step"], row["parameter"], float(row["update_ratio"]) if row["update_ratio"] else None]
        for row in found
    ] == expected


def test_means_of_an_epoch_count_the_steps_that_had_the_number(made):
    run = trained(made("update-ratios"), "linear")
    _, records = flow(run.folder)
    for statistic in ("coasted_norm", "update_ratio", "block_grad_norm", "dead_channels"):
        found = run.per_epoch(statistic)
        per_epoch = run.config["resolved"]["steps_per_epoch"]
        for epoch, means in enumerate(found):
            mine = [r for r in records if -(-r["step"] // per_epoch) == epoch + 1]
            for place, value in enumerate(means):
                numbers = [r[statistic][place] for r in mine if r[statistic][place] is not None]
                if numbers:
                    assert min(numbers) <= value * (1 + 1e-9)
                    assert value <= max(numbers) * (1 + 1e-9)
                else:
                    assert np.isnan(value)


# Figures


@pytest.mark.parametrize(
    ("name", "columns", "scale"),
    [
        ("gradients", ["stem", "block", "stem_by_loss", "first_by_last"], 1),
        ("learning-curves", ["test_error"], 100),
    ],
)
def test_the_lines_of_the_figure_hold_the_numbers(made, tmp_path, name, columns, scale):
    out = again(made(name), tmp_path / "out")
    found = result(out, name)
    for column, axes in zip(columns, found.figure.axes, strict=False):
        by_label = {line.get_label(): line.get_ydata() for line in axes.lines}
        for rule, label in (("constant", "constant depth"), ("linear", "linear $p_L$ = 0.5")):
            (drawn,) = (y for text, y in by_label.items() if text.startswith(label))
            mine = of(found.rows, rule=rule, p_last=RULES[rule][0])
            np.testing.assert_allclose(drawn, scale * numbers(mine, column))


def test_the_heatmap_is_white_just_where_there_is_no_gradient(made, tmp_path):
    name = "gradients-by-depth"
    out = again(made(name), tmp_path / "out")
    found = result(out, name)
    (image,) = found.figure.axes[2].images  # linear decay, first steps
    mine = of(found.rows, rule="linear", when="first steps")
    table = numbers(mine, "grad_mean").reshape(1 + 2 * L, -1)
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), table)
