"""The README and the site's pages are true: commands, Python, files and options that they name."""

import json
import re
import shlex
from pathlib import Path

import pytest

import results
from benchmarks import gpu, readme
from launches import BACKWARD, FORWARD
from minisd.cli import make_parser

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SITE = sorted((ROOT / "tutorials" / "site").glob("*.md"))
each_page = pytest.mark.parametrize("page", [README, *SITE], ids=lambda page: page.stem)


def blocks(language, page=README):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_it_is_read_in_one_sitting():
    assert len(README.read_text().splitlines()) <= 200


def test_the_first_two_commands_set_up_train_and_test():
    first, second = (block.splitlines() for block in blocks("sh")[:2])
    assert len(first) == len(second) == 1
    assert first[0].startswith("python3 -m venv")
    assert "'.[dev]'" in first[0]
    assert first[0].endswith("minisd train")
    assert "python -m pytest" in second[0]


def test_windows_has_the_same_two_commands():
    first, second = blocks("powershell")[0].splitlines()
    assert README.read_text().index("```powershell") > README.read_text().index(blocks("sh")[1])
    ours = [block.strip() for block in blocks("sh")[:2]]
    for there, here in zip((first, second), ours, strict=True):
        there = there.replace("\\", "/").replace("Scripts", "bin").replace('"', "'")
        assert there.replace("py -m venv", "python3 -m venv").replace("; ", " && ") == here


def test_the_python_in_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = blocks("python")
    assert code
    for block in code:
        exec(compile(block, str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert "loss" in printed
    assert blocks("text")[0] in printed


def test_the_python_of_the_page_on_your_own_experiment_runs_from_top_to_bottom(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    exec(
        compile("\n".join(blocks("python", ROOT / "tutorials" / "site" / "own.md")), "own", "exec"),
        {},
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "s", "tables"]


def test_the_python_of_the_page_on_processes_runs(capsys):
    page = ROOT / "tutorials" / "site" / "processes.md"
    difference, error = [], []
    for code, found in zip(blocks("python", page), (difference, error), strict=True):
        exec(compile(code, "processes", "exec"), {})
        found.append(float(capsys.readouterr().out.split()[-1]))
    assert difference[0] < 1e-14
    assert 0 <= error[0] <= 1


def commands_in(page):
    return [
        line.split("#")[0].split()[1:]
        for block in blocks("sh", page)
        for line in block.splitlines()
        if line.startswith("minisd ") and "--help" not in line
    ]


@each_page
def test_the_minisd_commands_in_it_parse(page):
    parser = make_parser()
    for arguments in commands_in(page):
        parser.parse_args(arguments)


def test_there_are_commands_and_modules():
    assert len(commands_in(README)) > 5
    assert sum(len(commands_in(page)) for page in SITE) > 5
    assert len(modules_in(README)) > 5


def modules_in(page):
    return set(re.findall(r"`((?:minisd|tests|tutorials)/[\w/.]+)`", page.read_text()))


@each_page
def test_the_files_it_names_exist(page):
    for name in modules_in(page):
        assert (ROOT / name).exists(), name


@each_page
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_the_benchmark_table_is_what_was_measured():
    measured = json.loads(readme.MEASURED.read_text())
    _, written, _ = readme.parts_of(readme.PAGE.read_text())
    assert written == readme.table(measured)
    assert measured["status"] == "done"
    assert not measured["quick"]


def test_the_table_of_peers_is_what_was_measured():
    begin, end = readme.PEERS_BEGIN, readme.PEERS_END
    _, written, _ = readme.parts_of(readme.PAGE.read_text(), begin, end)
    assert written == readme.all_peers()
    _, written, _ = readme.parts_of(README.read_text(), begin, end)
    assert written == readme.table_of_readme()
    for path in readme.PEERS:
        measured = json.loads(path.read_text())
        assert measured["status"] == "done"
        assert not measured["quick"]


def test_the_table_of_results_is_what_the_experiments_found():
    _, written, _ = readme.parts_of(results.PAGE.read_text(), results.BEGIN, results.END)
    assert written == results.table()


@pytest.mark.parametrize("path", sorted(results.RESULTS.rglob("*.csv")), ids=lambda path: path.stem)
def test_every_result_says_where_it_is_from_and_has_its_figure(path):
    caption = path.read_text().splitlines()[0]
    assert re.search(r"Data: cifar10.*depth \d+.*seed.*minisd experiment", caption)
    name, *arguments = shlex.split(caption.partition("minisd experiment ")[2])
    make_parser().parse_args(["experiment", name, *arguments])
    assert name == path.stem
    assert path.with_suffix(".png").is_file()


def words(text):
    return " ".join(text.split())


def test_what_a_gpu_needs_at_least_is_what_is_computed():
    text = words((ROOT / "tutorials" / "site" / "gpu.md").read_text())
    moved = gpu.FLOAT * sum(gpu.numbers_moved(gpu.DEPTH, gpu.BATCH, gpu.WIDTH))
    operations = gpu.convolution_operations(gpu.DEPTH, gpu.BATCH, width=gpu.WIDTH)
    assert f"come to {moved / 1e9:.0f} GB, and the convolutions to {operations / 1e9:.0f}" in text
    for name, (bandwidth, rate) in gpu.PUBLISHED.items():
        card, at = name.split()[0], f"({bandwidth / 1e9:,.0f} GB/s, {rate / 1e12:g} TFLOP/s"
        assert f"{card} {at}" in text
        assert f"{moved / bandwidth * 1e3:.0f} ms" in text[text.index(at) :]
    needed = [f"{operations / rate * 1e3:.0f} ms" for _, rate in gpu.PUBLISHED.values()]
    assert f"the products take at least {' and '.join(needed)}" in text
    launches = f"launches {FORWARD} kernels forward and {BACKWARD} backward "
    assert launches in text
