"""Every tutorial runs, keeps its claims, and its exercises tell a solution from an empty page."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

import every_tutorial
import results
from benchmarks import readme
from benchmarks.readme import parts_of
from every_tutorial import FOLDER, README
from launches import BACKWARD, FORWARD
from minisd.cli import make_parser
from minisd.tutorial import notebooks

SCRIPTS = notebooks.scripts(FOLDER)
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
LONG = (
    "02_linear_softmax",
    "03_convolution",
    "04_batchnorm",
    "05_residual_block",
    "06_stochastic_depth",
    "07_training",
    "08_gradient_flow",
    "09_gpu",
    "10_fast",
    "11_a_thousand_layers",
    "12_several_processes",
)
"""Tutorials that take longer than the others, also with ``--quick``."""
ON_THE_SITE = ("02_linear_softmax", "03_convolution", "05_residual_block", "08_gradient_flow")
"""Long ones that CI runs for the site, and on the book with every warning an error."""
NAMES = [
    "01_finite_differences", "02_linear_softmax", "03_convolution", "04_batchnorm",
    "05_residual_block", "06_stochastic_depth", "07_training", "08_gradient_flow", "09_gpu",
    "10_fast", "11_a_thousand_layers", "12_several_processes",
]  # fmt: skip


def test_all_are_there():
    assert [script.stem for script in SCRIPTS] == NAMES
    assert [notebooks.about(script).number for script in SCRIPTS] == list(range(1, 13))


def prose(script):
    """A tutorial's text, without the breaks of its lines."""
    return " ".join(script.read_text(encoding="utf-8").replace("\n# ", " ").split())


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, marks=[pytest.mark.slow] * (script.stem in LONG), id=script.stem)
        for script in SCRIPTS
        if script.stem not in ON_THE_SITE
    ],
)
def test_it_runs_and_its_exercises_are_worth_their_checks(script, tmp_path):
    done = every_tutorial.run(script, tmp_path, "--quick", "--solutions")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for number in (1, 2, 3):
        assert f"exercise {number} is yours to write\n" in done.stdout
        assert f"exercise {number} the solution passes\n" in done.stdout
    assert done.stdout.count("exercise") == 6
    assert done.stdout.count("holds   ") >= 5
    figures = re.findall(r"^figure +(\S+)$", done.stdout, re.MULTILINE)
    assert figures
    for figure in figures:
        assert Path(figure).name.startswith(script.stem[:2])
        assert (tmp_path / figure).stat().st_size > 1000


ON_THE_BOOK = """
import runpy, sys
import minisd, minisd.models
right = minisd.models.resnet
def resnet(*arguments, **options):
    return right(*arguments, **{"fused": False} | options).use(minisd.ops)
minisd.resnet = minisd.models.resnet = resnet
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
OF_THE_ENGINE = {
    "07_training": "compares its weights with those of the command, bit for bit",
    "11_a_thousand_layers": "counts the bytes that the engine keeps",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if s.stem not in OF_THE_ENGINE], ids=lambda script: script.stem
)
def test_its_claims_hold_for_networks_on_the_book(script, tmp_path):
    line = [sys.executable, "-W", "error", "-c", ON_THE_BOOK, str(script), "--quick"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("holds   ") >= 5


@each
def test_it_has_what_each_of_them_has(script):
    text = script.read_text(encoding="utf-8")
    about = notebooks.about(script)
    assert about.minutes > 0
    assert 2 <= len(re.findall(r"[.?!](?: |$)", about.why)) <= 4  # sentences
    assert text.index("# ## Exercises") < text.index("# ## What to read next")
    for number in (1, 2, 3):
        assert f"\n# **{number}.** " in text
    assert "import cupy" not in text
    assert "import torch" not in text


FOLDED = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
"""Metadata of a cell that the site folds by its tag, and JupyterLab by the other."""


@each
def test_the_code_of_its_figures_is_folded_and_says_what_they_show(script):
    drawing = 0
    for cell in nbformat.reads(notebooks.notebook(script), as_version=4).cells:
        if cell.cell_type != "code":
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "show"
        ]
        folded = {name: cell.metadata[name] for name in FOLDED if name in cell.metadata}
        assert folded == (FOLDED if calls else {}), cell.source
        assert ("new_figure(" in cell.source) == bool(calls)
        for call in calls:
            drawing += 1
            (alt,) = (ast.literal_eval(each.value) for each in call.keywords)
            assert len(alt) > 80, alt  # says what there is to see, which a title does not
            assert alt.endswith(".")
            assert len(calls) == 1  # the site has one text for the figures of a cell
        if calls:
            assert "claim(" not in cell.source, "what is claimed is not folded away"
    assert drawing


@each
def test_its_notebook_is_the_one_made_from_it(script):
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == notebooks.notebook(script), "run 'minisd tutorials build'"
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own libraries
def test_a_notebook_runs_in_jupyter(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISD_QUICK", "1")
    notebook = nbformat.read(SCRIPTS[0].with_suffix(".ipynb"), as_version=4)
    nbclient.NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert "exercise 3 is yours to write" in printed
    assert len(pictures) >= 2
    assert not list(tmp_path.iterdir())  # figures are in the notebook


@pytest.mark.parametrize(
    "path", [README, *SCRIPTS, FOLDER / "results" / "README.md"], ids=lambda path: path.name
)
def test_its_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), target
    root = FOLDER.parent
    for named in re.findall(r"`((?:minisd|tests|tutorials)/[\w/.]+)`", text):
        assert (root / named).exists(), named


@pytest.mark.parametrize("path", [README, *SCRIPTS], ids=lambda path: path.stem)
def test_the_commands_that_it_names_parse(path):
    parser = make_parser()
    for command in re.findall(r"`minisd ([a-z][^`]*)`", prose(path)):
        parser.parse_args(command.split())


def test_the_readme_says_what_the_tutorials_say_and_what_was_measured():
    _, written, _ = parts_of(
        README.read_text(encoding="utf-8"), every_tutorial.BEGIN, every_tutorial.END
    )
    assert written == every_tutorial.table()


def test_the_launches_that_the_gpu_tutorial_tells_are_those_counted():
    (given,) = re.findall(r"^OPEN, CLOSED, UNFUSED = (.+)$", SCRIPTS[8].read_text(), re.MULTILINE)
    open_block, closed, unfused = ast.literal_eval(re.sub("  # .*", "", given))
    assert open_block == (FORWARD, BACKWARD)
    told = " ".join((FOLDER / "site" / "gpu.md").read_text(encoding="utf-8").split())
    assert "launches {} kernels forward and {} backward".format(*open_block) in told
    assert "({} and {} before elementwise".format(*unfused) in told
    assert "a closed block {} and {}".format(*closed) in told


def test_the_factors_that_the_gradient_flow_tutorial_tells_are_those_found():
    said = re.search(
        r"table of \S+ has ([\d.]+) at 20 layers and ([\d.]+) at 56",
        prose(SCRIPTS[7]),
    )
    for depth, factor in zip((20, 56), said.groups(), strict=True):
        found = results.stochastic_over_constant(depth, "stem", 2).split()[0]
        assert abs(float(found) - float(factor)) < 0.05


def test_the_memory_that_the_tutorial_on_depth_tells_is_that_measured():
    rows = json.loads(readme.MEASURED.read_text())["rows"]
    peaks = {row["name"]: row["value"] for row in rows if row["name"].startswith("resnet-1202")}
    said = prose(SCRIPTS[10])
    assert f"reports {peaks['resnet-1202-plain']:.1f} GiB" in said
    assert f"benchmarks measured ({peaks['resnet-1202-recompute']:.2f} GiB" in said
