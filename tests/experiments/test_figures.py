"""What the figures look like: colours, lines, legends, axes, letters; and the files they are in."""

import dataclasses
import functools
import re
import shlex
from itertools import combinations
from pathlib import Path
from string import ascii_lowercase

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.lines import Line2D

from minisd import figures
from minisd.cli import main
from minisd.errors import RunFolderError, UserError
from minisd.experiments import (
    depth_distribution,
    drawing,
    ensemble,
    gradients,
    gradients_by_depth,
    learning_curves,
    lesion,
    paper_curves,
    publish,
    shattered,
    survival,
    training_time,
    update_ratios,
)
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.drawing import SEEDS, for_paper, look
from minisd.experiments.gallery import published, read_table
from minisd.experiments.publish import Result, for_terminal, pictures
from tiny_studies import OF_EXPERIMENTS, again, arguments, study

RESULTS = Path(__file__).parents[2] / "tutorials" / "results" / "resnet20"

# Colours, as a grey print and as colour-blind eyes have them

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
EYES = {  # Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
}  # fmt: skip


def linear(colour):
    """Linear RGB of ``#rrggbb``."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB, white D65: lightness first, 0 to 100."""
    ratio = TO_XYZ @ np.clip(rgb, 0, 1) / (0.95047, 1, 1.08883)
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def differences(one, other):
    """In lightness; and of both colours, for the kind of eyes that tells them apart worst."""
    lightness = abs(lab(linear(one))[0] - lab(linear(other))[0])
    seen = [
        np.linalg.norm(lab(np.array(eye) @ linear(one)) - lab(np.array(eye) @ linear(other)))
        for eye in EYES.values()
    ]
    return lightness, min(seen)


def test_lightness_is_that_of_the_standard():
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.05)
    assert lab(linear("#777777"))[0] == pytest.approx(50, abs=0.2)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


CONSTANT, HALF, HIGH = look("constant", 1.0), look("linear", 0.5), look("linear", 0.8)
TOGETHER = {
    "two kinds of training": [CONSTANT, HALF],
    "learning curves": [CONSTANT, HALF, HIGH],
    "with plain": [look("plain", 1.0), CONSTANT, HALF],
    "sweep": [HALF, look("uniform", 0.5)],
    "all linear": [look("linear", 0.3), HALF, HIGH],
    "seeds": SEEDS[:3],
}


@pytest.mark.parametrize("looks", TOGETHER.values(), ids=TOGETHER)
def test_curves_drawn_together_differ_without_colours(looks):
    for one, other in combinations(looks, 2):
        lightness, seen = differences(one.colour, other.colour)
        assert lightness >= 15
        assert seen >= 20
        assert one.mark != other.mark
        assert one.line != other.line or looks == SEEDS[:3]


def test_the_two_colours_differ_most():
    for one, other in ((CONSTANT.colour, HALF.colour), (figures.VALIDATION, figures.TEST)):
        lightness, seen = differences(one, other)
        assert lightness >= 25
        assert seen >= 60
    assert differences("#c1432e", "#3a6ea5")[0] < 15  # red and blue, as they once were


# Figures of stored results, or of numbers made here; drawn once each


def both(rows):
    constant = [{"rule": "constant", "p_last": 1.0, **row} for row in rows]
    return constant + [{"rule": "linear", "p_last": 0.5, **row} for row in rows]


def stored(name):
    return read_table(RESULTS / f"{name}.csv")[1]


def drawn_ensemble():
    numbers = {"rule": "linear", "p_last": 0.5, "p_scaled": 0.02}
    return ensemble.draw(
        [
            {
                **numbers,
                "seed": s,
                "members": m,
                "error": 0.2 / m,
                "lowest": 0.1 / m,
                "highest": 0.5,
            }
            for s in (1, 2)
            for m in range(1, 9)
        ]
    )


def drawn_survival(depths=(20, 38)):
    rows = [
        {"rule": rule, "depth": depth, "p_last": p, "seed": 1, "test_error": 5 + 20 * p * depth}
        for rule in ("linear", "uniform")
        for depth in depths
        for p in (0.1, 0.3, 0.5, 0.8, 1.0)
    ]
    return survival.draw(rows, depths[0])


def drawn_shattered():
    common = {"networks": 2, "p_last": 1.0, "error": 1e-3}
    rows = [
        {**common, "rule": rule, "depth": depth, "figure": "line", "lag": lag, "correlation": 0.9}
        for rule, _ in shattered.RULES
        for depth in (8, 20)
        for lag in range(8)
    ]
    rows += [
        {**common, "rule": rule, "depth": d, "figure": "independent", "correlation": 2.0**-d}
        for rule in ("plain", "constant", "linear", "fully connected")
        for d in (3, 8)
    ]
    return shattered.draw(rows)


def drawn_updates():
    rows = [
        {"seed": 1, "step": step, "parameter": f"{layer}.w", "update_ratio": 10.0 ** -(layer + 2)}
        for step in (10, 20, 30)
        for layer in range(3)
    ]
    return update_ratios.draw(both(rows), 20, [15])


DRAWN = {
    "gradients": lambda: gradients.draw(stored("gradients"), 20),
    "learning-curves": lambda: learning_curves.draw(stored("learning-curves"), "cifar10", 20),
    "survival": drawn_survival,
    "training-time": lambda: training_time.draw(stored("training-time")),
    "depth-distribution": lambda: depth_distribution.draw(stored("depth-distribution")),
    "gradients-by-depth": lambda: gradients_by_depth.draw(
        [{"seed": 1, **row} for row in stored("gradients-by-depth")], 20
    ),
    "update-ratios": drawn_updates,
    "lesion": lambda: lesion.draw([row for row in stored("lesion") if row["seed"] == 1]),
    "shattered-gradients": drawn_shattered,
    "ensemble": drawn_ensemble,
}


@functools.cache
def figure(name):
    with figures.own_style():
        drawn = DRAWN[name]()
        drawn.draw_without_rendering()
    return drawn


def panels(drawn):
    return [axes for axes in drawn.axes if axes.axison and axes.get_label() != "<colorbar>"]


def labels(axis):
    low, high = sorted(axis.get_view_interval())
    places = [place for place in axis.get_ticklocs() if low <= place <= high]
    return axis.get_major_formatter().format_ticks(places)


QUICK = ["gradients", "learning-curves", "survival", "depth-distribution", "lesion", "ensemble"]
EACH = [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in DRAWN]


def test_every_experiment_is_looked_at():
    assert DRAWN.keys() == EXPERIMENTS.keys()


def appearance(handle):
    line = handle[0] if isinstance(handle, tuple) else handle  # else with its error bars
    if not isinstance(line, Line2D):
        return None
    return line.get_color(), line.get_linestyle(), line.get_marker()


@pytest.mark.parametrize("name", EACH)
def test_one_legend_shows_lines_as_they_are_and_hides_none(name):
    drawn = figure(name)
    (legend,) = drawn.legends
    assert not any(axes.get_legend() for axes in drawn.axes)
    texts = [text.get_text() for text in legend.get_texts()]
    shown = dict(zip(texts, legend.legend_handles, strict=True))
    assert len(shown) == len(texts)
    box = legend.get_window_extent()
    assert box.x1 <= drawn.bbox.x1
    for axes in panels(drawn):
        assert not box.overlaps(axes.get_tightbbox())
        assert axes.get_tightbbox().x1 <= drawn.bbox.x1
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            if text in shown and appearance(shown[text]) and appearance(handle):
                assert appearance(shown[text]) == appearance(handle), text
        for line in axes.lines:
            is_guide = any(len({*map(float, values)}) == 1 for values in line.get_data())
            if is_guide and line.get_linestyle() not in ("None", "-"):
                assert appearance(line) in {*map(appearance, shown.values())}


@pytest.mark.parametrize("name", EACH)
def test_axes_are_labelled_and_none_lies_on_another(name):
    drawn = figure(name)
    seen = panels(drawn)
    for one, other in combinations(seen, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())
    for axes in seen:
        shared = [*axes.get_shared_y_axes().get_siblings(axes)]
        assert any(each.get_ylabel() for each in shared) or name == "gradients-by-depth"
        for axis in (axes.xaxis, axes.yaxis):
            texts = labels(axis)
            assert len(texts) >= 2
            for text in texts:  # 0.009, not 9 x 10^-3
                assert not re.search(r"10\^\{-[1-4]\}|2\^", text), text


def test_the_papers_gradients_have_axes_of_their_own():
    *ours, paper = panels(figure("gradients"))
    for kind, (x, y) in paper_curves.first_gradient().items():
        (line,) = (line for line in paper.lines if line.get_label() == f"paper, {kind}")
        np.testing.assert_array_equal(line.get_data(), (x, y))
    assert not [line for axes in ours for line in axes.lines if "paper" in str(line.get_label())]
    assert "$10^{-6}$" in labels(paper.yaxis)


def test_the_papers_sweep_has_axes_of_its_own_and_numbers_are_read_on_every_cell():
    drawn = figure("survival")
    ours, paper, table = panels(drawn)
    assert [line.get_color() for line in paper.lines] == [drawing.PAPER] * 2
    assert drawing.PAPER not in [line.get_color() for line in ours.lines]
    (image,) = table.images
    shades = set()
    for text in table.texts:
        column, row = text.get_position()
        cell = (
            "#"
            + bytes(image.cmap(image.norm(image.get_array()[row, column]), bytes=True)[:3]).hex()
        )
        shade = "#ffffff" if text.get_color() == "white" else text.get_color()
        light, dark = sorted((TO_XYZ[1] @ linear(c) for c in (cell, shade)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3.5, cell
        shades.add(shade)
    assert len(shades) == 2


def test_a_panel_without_points_says_why_once():
    rows = [row for row in stored("lesion") if row["figure"] != "swaps"]
    drawn = lesion.draw(rows)
    texts = [[text.get_text() for text in axes.texts] for axes in panels(drawn)]
    assert texts == [[], [], ["no two blocks can be swapped"], []]


def test_dotted_lines_are_where_the_learning_rate_changes():
    rows = stored("gradients")
    assert drawing.changes_of(rows) == [8, 12]
    halves = [{**row, "epoch": row["epoch"] - half} for row in rows for half in (0.5, 0)]
    assert drawing.changes_of(halves) == [8, 12]  # several evaluations in an epoch
    assert drawing.changes_of([{**row, "lr": 0.1 / row["epoch"]} for row in rows]) == []


def test_the_end_of_a_learning_curve_can_be_read():
    errors, losses = panels(figure("learning-curves"))
    assert errors.get_yscale() == losses.get_yscale() == "log"
    assert "logarithmic" in errors.get_ylabel()
    assert "paper, 110 layers, constant" in [line.get_label() for line in errors.lines]
    low, high = errors.get_ylim()
    assert low < 6
    assert high <= 100


def test_an_ensembles_legend_has_the_networks_of_every_seed():
    (axes,) = panels(figure("ensemble"))
    texts = [text.get_text() for text in figure("ensemble").legends[0].get_texts()]
    assert texts == [
        f"seed {s}: {what}" for s in (1, 2) for what in ("average of M", "p-scaled network, 2.0 %")
    ]
    assert labels(axes.xaxis) == ["1", "2", "4", "8"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.009, "0.009"), (0.0005, "0.0005"), (0, "0"), (20.0, "20"), (12345.0, "12345"),
     (1e-6, "$10^{-6}$"), (5e-7, r"$5 \times 10^{-7}$"), (1e6, "$10^{6}$"), (-0.5, "-0.5")],
)  # fmt: skip
def test_numbers_on_axes(value, text):
    assert figures.decimal(value) == text


@pytest.mark.parametrize(
    ("low", "high", "some"),
    [(0.0071, 0.012, {"0.008", "0.01"}), (0.002, 0.1, {"0.002", "0.005", "0.05"}),
     (0.01, 50, {"0.1", "1", "10"}), (0.3, 0.31, {"0.3", "0.31"})],
)  # fmt: skip
def test_a_logarithmic_axis_always_has_numbers(low, high, some):
    axes = figures.new_figure(3, 3).subplots()
    axes.plot([1, 2], [low, high])
    axes.set_yscale("log")
    figures.decimal_ticks(axes.yaxis)
    assert some <= {*labels(axes.yaxis)}


@pytest.mark.parametrize(
    ("errors", "scale", "how"),
    [([80, 30, 2.3], "log", "logarithmic"), ([80, 30, 0.4], "symlog", "linear below 1"),
     ([0, 0], "symlog", "linear below 1"), ([100], "log", "logarithmic"),
     ([80, 83], "log", "logarithmic")],
)  # fmt: skip
def test_an_error_axis_says_how_it_is_scaled(errors, scale, how):
    axes = figures.new_figure(3, 3).subplots()
    axes.plot(errors, "o")
    figures.error_axis(axes, errors, "error")
    assert axes.get_yscale() == scale
    assert axes.get_ylabel().startswith("error (%)")
    assert how in axes.get_ylabel()
    low, high = axes.get_ylim()
    assert low <= min(errors) <= max(errors) <= high
    assert (low == 0) == (scale == "symlog")
    assert len(labels(axes.yaxis)) >= 3


HISTORY = [
    {"epoch": e, "train_loss": 1 / e, "val_error": 0.3 / e, "test_error": 0.006, "lr": 0.1 / e}
    for e in (1, 2, 3)
]
DESCRIPTION = {
    "heading": "ResNet-20 on my $5 and $6: stochastic depth", "seed": 1,
    "resolved": {"expected_depth": 6.5, "num_blocks": 9, "steps_per_epoch": 4},
}  # fmt: skip


def test_titles_name_images_of_ones_own_by_the_last_part_of_their_path():
    data = "/home/me/cats $2.npz"
    curve = figures._curve({**DESCRIPTION, "heading": "ResNet-20 on cats $2: ..."}, HISTORY)
    curves = learning_curves.draw(stored("learning-curves"), data, 20)
    for figure in (curve, curves):
        assert re.search(r"on cats \\\$2\b", figure.get_suptitle()), figure.get_suptitle()


def test_the_curve_of_a_run_says_how_it_is_scaled_and_what_the_dots_are():
    drawn = figures._curve(DESCRIPTION, HISTORY)
    drawn.draw_without_rendering()
    errors, losses = drawn.axes
    assert "linear below 1" in errors.get_ylabel()
    assert "epoch" in losses.get_xlabel()
    (legend,) = drawn.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[2:] == ["learning rate changes"]
    validation, test = errors.lines[0], errors.lines[2]
    assert validation.get_linestyle() != test.get_linestyle()
    assert validation.get_marker() != test.get_marker()


# Whatever the user's settings are


def test_no_setting_of_the_user_changes_a_figure(tmp_path):
    result = Result(drawn_ensemble, [{"x": 1}], "caption", alt="What there is to see.")
    plain = pictures("ensemble", result, "caption")
    assert b"<title>What there is to see.</title>" in plain["svg"]
    figures.learning_curve(DESCRIPTION, HISTORY, tmp_path / "plain.png")
    settings = {
        "text.usetex": True, "lines.linewidth": 9, "axes.facecolor": "black", "font.size": 30,
        "axes.prop_cycle": mpl.cycler(color=["red"]), "savefig.dpi": 10, "savefig.bbox": "tight",
        "axes.spines.left": False, "legend.fontsize": 30, "svg.fonttype": "none",
    }  # fmt: skip
    with mpl.rc_context(settings):
        before = dict(mpl.rcParams)
        assert pictures("ensemble", result, "caption") == plain
        figures.learning_curve(DESCRIPTION, HISTORY, tmp_path / "again.png")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


# For a paper


LETTERS = {
    "gradients": {"(e)": "the paper's first convolution"},
    "survival": {"(b)": "the paper's, 110 layers"},
    "training-time": {"(a)": "one step, by open blocks", "(b)": "mean step, gates drawn"},
    "gradients-by-depth": {
        **{"(a) to (c)": "linear $p_L$ = 0.5", "(d)": "first step"},
        **{"(e) to (g)": "linear $p_L$ = 0.5", "(h)": "last epoch"},
    },
    "lesion": {"(d)": "gradient along paths through k branches"},
    "shattered-gradients": {"(a) to (c)": "linear $p_L$ = 0.5", "(d)": "independent inputs"},
}
"""How a caption names panels in a paper; and the title of the panel, the last one of several."""


@pytest.mark.parametrize("name", EACH)
def test_a_figure_for_a_paper_has_letters_and_no_title(name):
    with figures.own_style("paper"):
        drawn = DRAWN[name]()
        for_paper(drawn)
    headings = [axes.get_title(loc="left") for axes in panels(drawn)]
    letters = [re.findall(r"\(([a-z])\)", heading) for heading in headings]
    expected = ascii_lowercase[: len(headings)] if len(headings) > 1 else [""]
    assert ["".join(found) for found in letters] == [*expected]
    for named, heading in LETTERS.get(name, {}).items():
        assert headings[ascii_lowercase.index(named[-2])].endswith(heading)
    assert drawn.get_suptitle() == ""
    assert drawn.get_figwidth() == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_caption_for_a_paper_names_panels_by_their_letters(made, tmp_path, name):
    copy = again(made(name), tmp_path / "copy")
    assert main([*arguments(copy, name, **OF_EXPERIMENTS), "--style", "paper"]) == 0
    caption, _ = read_table(copy / f"{name}.csv")
    found = re.findall(r"\([a-z]\)(?: to \([a-z]\))?", caption)
    assert found == [*LETTERS.get(name, {})] + ["(b)"] * (name == "survival")
    text = caption.replace("its shortcut left", "").replace("left out", "").replace("is left", "")
    assert not re.findall(r"(?i)\b(panels?|left|right|above|below|middle)\b", text)


def test_style_and_pdf_are_options_and_the_caption_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    line = [each for each in arguments(out, "depth-distribution") if each != "--quiet"]
    assert main([*line, "--style", "paper", "--pdf"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "out/depth-distribution.pdf" in said
    for kind in ("csv", "svg", "pdf", "png"):
        content = (out / f"depth-distribution.{kind}").read_bytes()
        assert b"--style paper --pdf --out DIR" in content, kind
        assert depth_distribution.ALT.encode() in content or kind == "csv"
    assert int.from_bytes(content[16:20]) == 7 * 300  # the PNG's pixels: a page wide
    publish.check_same_study(study(out), "depth-distribution")  # may be replaced
    (entry,) = published(out)
    assert entry.figures.keys() == {"png", "svg", "pdf"}
    entry.figures["pdf"].write_bytes(b"%PDF of somebody else")
    with pytest.raises(FileExistsError):
        publish.check_same_study(study(out), "depth-distribution")


def test_an_unknown_style_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"screen or paper, not 'slides'"):
        study(tmp_path, style="slides")


# Words


@pytest.mark.parametrize("columns", ["1", "4", "-3"])
def test_a_caption_can_be_shown_on_any_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert for_terminal("A caption. Made by: minisd experiment lesion --out DIR").endswith("DIR")


def test_a_caption_fits_a_terminal_and_its_command_can_be_copied():
    command = (
        "minisd experiment lesion --data cifar10 --depth 56 --limit all --seeds 1 2 3 --out DIR"
    )
    shown = for_terminal(f"{'Words of a caption. ' * 20}Data: digits. Made by: {command}")
    assert max(map(len, shown.splitlines())) <= 80
    copied = shown.partition("Made by: ")[2]
    assert shlex.split(copied.replace("\\\n", "")) == shlex.split(command)
    quoted = "minisd experiment lesion --data 'my  own images.npz' " + "--depth 56 " * 5
    copied = for_terminal(f"Words. Made by: {quoted}").partition("Made by: ")[2]
    assert shlex.split(copied.replace("\\\n", "")) == shlex.split(quoted)


def test_the_help_fits_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["experiment", "--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert all(f"  {name} " in said for name in (*EXPERIMENTS, "all"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_figure_has_an_alternative_text(name):
    text = EXPERIMENTS[name].ALT
    assert 60 < len(text) < 320
    assert re.search(r"charts?|heatmaps|histograms", text)
    assert text.endswith(".")


def test_what_is_published_can_be_listed(tmp_path):
    found = published(RESULTS)
    assert [entry.name for entry in found] == [
        name for name in EXPERIMENTS if (RESULTS / f"{name}.csv").exists()
    ]
    assert all("Made by: minisd experiment" in entry.caption for entry in found)
    assert all(entry.figures.keys() == {"png"} for entry in found)
    assert dataclasses.asdict(found[0])["alt"] == gradients.ALT
    caption, rows = read_table(RESULTS / "gradients.csv")
    assert caption == found[0].caption
    assert (rows[0]["rule"], rows[0]["seed"], rows[0]["epoch"]) == ("constant", 1, 1)
    (tmp_path / "lesion.csv").write_text("rule,x\nlinear,1\n")
    with pytest.raises(RunFolderError, match=r"lesion\.csv is damaged"):
        published(tmp_path)
    assert published(tmp_path / "nowhere") == []


# All of them


def test_all_experiments_are_made_and_one_that_fails_stops_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out, made = Path("out"), []

    def run(name, study):
        made.append((name, study))
        if name == "lesion":
            raise UserError("no run could be trained: boom")
        if name == "survival":
            study.failures["a-run"] = "boom"
        return Result(lambda: figures.new_figure(1, 1), [{"x": 1}], f"About {name}.")

    for name, module in EXPERIMENTS.items():
        monkeypatch.setattr(module, "run", functools.partial(run, name))
    line = [each for each in arguments(out, "all") if each != "--quiet"]
    assert main(line) == 2
    assert [name for name, _ in made] == [*EXPERIMENTS]
    assert len({id(study) for _, study in made}) == len(EXPERIMENTS)
    said = capsys.readouterr()
    assert "lesion: no run could be trained: boom" in said.err
    assert "a-run: boom" in said.err
    assert "makes no use of" not in said.err
    for name in EXPERIMENTS:
        assert (out / f"{name}.csv").exists() == (name != "lesion")
        assert f"{name}: {EXPERIMENTS[name].SUMMARY}" in said.out
    assert "Missing" not in (out / "ensemble.csv").read_text()
    assert max(map(len, said.out.splitlines())) <= 80
