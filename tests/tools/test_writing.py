"""Nothing that is not ours is ever replaced or removed: where minisd writes, and what it leaves."""

import ast
import shutil
from pathlib import Path

import pytest

import minisd
from every_tutorial import FOLDER
from minisd.cli import main
from minisd.files import aside_name, write_atomically
from minisd.runs import folder as runfolder
from minisd.runs.session import train
from minisd.tutorial import notebooks, tools
from tiny_runs import contents, is_one_sentence, options, tiny
from tiny_studies import arguments

ROOT = Path(minisd.__file__).parent

MECHANISM = {
    "files.py": {"open 'xb'", "open 'ab'", "unlink", "replace"},  # all contents
    "locks.py": {"open 'ab'", "open 'x'", "unlink"},  # nothing is written into a lock but its mark
    "runs/export.py": {"mkdir"},
    "runs/folder.py": {"unlink", "mkdir", "rmdir"},  # an earlier run that `check_free` knows
    "data/download.py": {"open 'xb'", "mkdir"},  # into the folder of its own that `staging` makes
    "data/staging.py": {"touch", "mkdir", "rmtree", "unlink", "replace"},
    "data/unpack.py": {"open 'xb'"},
    "experiments/study.py": {"mkdir"},
    "cli/course_students.py": {"mkdir"},
    "course/batch.py": {"mkdir", "replace"},  # of dataclasses
    "course/grades.py": {"mkdir", "replace"},
    "course/report.py": {"replace"},
    "course/bundle.py": {"TemporaryDirectory", "extractall"},  # of its own
    "course/export/gradescope.py": {"mkdir"},
    "course/export/packages.py": {"mkdir", "TemporaryDirectory"},
    "course/export/prairielearn.py": {"mkdir"},
    "course/settings.py": {"mkdir"},
    "course/similar.py": {"mkdir"},
    "course/sandbox.py": {"open 'wb'", "mkdir", "rmtree"},  # in a temporary folder of its own
    "course/staging.py": {"mkdir", "write_bytes"},  # the same
    "course/answers.py": {"replace"},  # of dataclasses
    "course/diagnose.py": {"replace"},
    "course/kit.py": {"replace"},
    "course/material.py": {"replace"},
    "course/source.py": {"replace"},
    "course/handouts/a1/variants/temperature/checks.py": {"replace"},
    "course/handouts/a2/variants/dilation/checks.py": {"replace"},
    "course/handouts/a2/variants/groups/checks.py": {"replace"},
    "course/handouts/a3/variants/pairs/checks.py": {"replace"},
    "course/handouts/a5/variants/power/checks.py": {"replace"},
    "course/handouts/a6/variants/own/checks.py": {"replace"},
    "course/rubric.py": {"replace"},
    "course/submissions.py": {"replace"},
    "experiments/publish.py": {"savefig"},  # into memory
    "experiments/gradients_by_depth.py": {"TemporaryDirectory"},
    "experiments/process.py": {"TemporaryFile"},
    "tutorial/tools.py": {"savefig", "mkdir"},  # into memory, or a stream of `write_atomically`
    "figures.py": {"savefig"},  # into memory
    "runs/checkpoint.py": {"savez"},  # into memory
}
"""The places that write, remove or rename, with what they do. A new one belongs into `files`."""
CALLS = {
    "write_text", "write_bytes", "unlink", "remove", "rmtree", "rmdir", "removedirs", "rename",
    "renames", "replace", "move", "copy2", "copyfile", "copytree", "touch", "mkdir", "makedirs",
    "symlink_to", "hardlink_to", "symlink", "link", "truncate", "mkstemp", "NamedTemporaryFile",
    "TemporaryFile", "TemporaryDirectory", "savefig", "savez", "savez_compressed", "savetxt",
    "tofile", "dump", "extract", "extractall", "memmap",
}  # fmt: skip


def writing(path: Path) -> set[str]:
    """What a file does to files, as `MECHANISM` lists it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        whole = ast.unparse(node.func)
        name = whole.rpartition(".")[2]
        if name == "open":
            modes = [ast.unparse(a) for a in [*node.args, *(k.value for k in node.keywords)]]
            modes = [mode for mode in modes if not set(mode) - set("'rwxabt+")]
            found |= {f"open {mode}" for mode in modes if set(mode) & set("wxa+")}
            found |= {"open to create"} if "O_CREAT" in ast.unparse(node) else set()
        elif name in ("remove", "move") and whole not in ("os.remove", "shutil.move"):
            continue  # of a list, a hook
        elif name == "replace" and whole != "os.replace" and len(node.args) != 1:
            continue  # of a string
        elif name in CALLS and whole != "dataclasses.replace":
            found.add(name)
    return found


def test_the_places_that_write_are_known():
    found = {path.relative_to(ROOT).as_posix(): writing(path) for path in ROOT.rglob("*.py")}
    assert {name: what for name, what in found.items() if what} == MECHANISM


# Files


def test_a_link_is_neither_replaced_nor_followed(tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    for name in ("file", aside_name("file")):
        (tmp_path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="is a link"):
        write_atomically(tmp_path / "file", lambda stream: stream.write(b"new"))
    (tmp_path / "file").unlink()
    write_atomically(tmp_path / "file", lambda stream: stream.write(b"new"))
    assert contents(tmp_path) == {"mine": b"mine", "file": b"new"}


# Runs

BERT = b'{"model_type": "bert"}'
FOREIGN = {
    "another's model": {"config.json": BERT},
    "another's model and log": {"config.json": BERT, "log.jsonl": b"{}\n"},
    "an empty config": {"config.json": b""},
    "a damaged config": {"config.json": b"{"},
    "a list": {"config.json": b"[1]"},
    "a checkpoint": {"checkpoint.npz": b"mine"},
    "a picture": {"curve.png": b"mine"},
    "a log": {"log.jsonl": b"{}\n"},
}


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_that_minisd_did_not_write_is_never_taken(tmp_path, kind, force, capsys):
    folder = tmp_path / "other"
    folder.mkdir()
    for name, content in FOREIGN[kind].items():
        (folder / name).write_bytes(content)
    assert main(["train", "--out", str(folder), *force, *options(epochs=1)]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said), said
    assert "minisd wrote" in said
    assert sorted(path.name for path in folder.iterdir()) == sorted(FOREIGN[kind])
    assert contents(folder) == FOREIGN[kind]


@pytest.mark.parametrize("kind", ["another's model", "a damaged config"])
def test_what_minisd_did_not_write_is_not_gone_on_with(tmp_path, kind, capsys):
    (tmp_path / "config.json").write_bytes(FOREIGN[kind]["config.json"])
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]  # and no lock


@pytest.mark.parametrize("name", ["curve.png", "config.json", "checkpoint.npz", ".lock"])
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_force_leaves_a_run_with_a_link_or_a_folder_in_it(tmp_path, name, kind, capsys):
    folder = tmp_path / "run"
    train(tiny(epochs=1), folder)
    (folder / name).rename(tmp_path / "mine")
    if kind == "link":
        (folder / name).symlink_to(tmp_path / "mine")
    else:
        (folder / name).mkdir()
    before = contents(tmp_path)
    assert main(["train", "--out", str(folder), "--force", *options(epochs=1, seed=9)]) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("config", [None, b"", b"{"])
def test_force_replaces_a_run_that_its_checkpoint_shows_to_be_ours(tmp_path, config):
    folder = tmp_path / "run"
    train(tiny(epochs=1), folder)
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_bytes(config)
    train(tiny(epochs=1, seed=9), folder, force=True)
    assert runfolder.read_json(folder / "config.json")["seed"] == 9


def test_a_run_folder_may_itself_be_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    train(tiny(epochs=1), tmp_path / "run")
    train(tiny(epochs=1, seed=9), tmp_path / "run", force=True)
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "elsewhere" / "curve.png").exists()


def test_a_curve_that_is_a_link_costs_no_result(tmp_path, capsys):
    folder = tmp_path / "run"
    train(tiny(epochs=1), folder)
    (folder / "curve.png").rename(tmp_path / "mine.png")
    (folder / "curve.png").symlink_to(tmp_path / "mine.png")
    before = contents(tmp_path)
    assert main(["train", "--resume", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "result " in printed.out
    assert "curve.png was not drawn" in printed.err
    assert contents(tmp_path) == before


# Figures and notebooks


@pytest.mark.parametrize("kind", ["csv", "png", "svg"])
def test_anothers_figure_of_that_name_is_left_alone(tmp_path, kind, capsys):
    (tmp_path / f"depth-distribution.{kind}").write_bytes(b"mine")
    assert main(arguments(tmp_path, "depth-distribution")) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "is not as minisd writes it" in said
    assert contents(tmp_path) == {f"depth-distribution.{kind}": b"mine"}


def test_a_figure_of_another_study_is_not_replaced(tmp_path, capsys):
    line = arguments(tmp_path, "depth-distribution")
    assert main([*line, "--seeds", "1"]) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    for other in (["--depth", "14"], ["--seeds", "2"]):
        assert main([*line, *other]) == 2
        said = capsys.readouterr().err
        assert is_one_sentence(said)
        assert "of another study" in said
        assert contents(tmp_path) == before
    assert main([*line, "--seeds", "1"]) == 0
    assert main([*line, "--seeds", "1", "2"]) == 0  # more of the same


def test_a_notebook_that_somebody_worked_in_is_not_replaced(tmp_path):
    pytest.importorskip("jupytext")
    script = notebooks.scripts(FOLDER)[0]
    shutil.copy(script, tmp_path)
    (notebook,) = notebooks.build(tmp_path)
    made = notebook.read_text(encoding="utf-8")
    assert notebooks.build(tmp_path) == [notebook]
    for old, new in (('"outputs": []', '"outputs": [1]'), ('"cell-2"', '"mine"'), ("{", "")):
        notebook.write_text(made.replace(old, new, 1), encoding="utf-8")
        before = contents(tmp_path)
        assert main(["tutorials", "build", str(tmp_path)]) == 2
        assert contents(tmp_path) == before


def test_a_font_that_cannot_be_read_is_not_a_folder_that_cannot_be_written(
    tmp_path, monkeypatch, capsys
):
    def fail(*_, **__):
        raise OSError(24, "Too many open files", "DejaVuSans.ttf")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert main(["train", "--out", str(tmp_path / "run"), *options(epochs=1)]) == 0
    printed = capsys.readouterr()
    assert "result " in printed.out
    assert "curve.png was not drawn: RuntimeError" in printed.err


class Broken:
    def suptitle(self, *_, **__):
        pass

    def savefig(self, *_, **__):
        raise RuntimeError("no TeX here")


def test_a_figure_that_cannot_be_drawn_does_not_stop_a_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tools, "_in_notebook", lambda: False)  # though a test before was in one
    tools.show(Broken(), "01_first", "a title")
    assert "01_first.png was not drawn: RuntimeError: no TeX here" in capsys.readouterr().err
    Path("figures", "02_mine.png").write_bytes(b"mine")
    tools.show(Broken(), "02_mine", "a title")
    assert Path("figures", "02_mine.png").read_bytes() == b"mine"


def test_a_figure_that_cannot_be_drawn_does_not_cost_the_numbers(tmp_path, monkeypatch, capsys):
    def fail(rows):
        raise RuntimeError("no TeX here")

    monkeypatch.setattr("minisd.experiments.depth_distribution.draw", fail)
    assert main(arguments(tmp_path, "depth-distribution")) == 0
    assert "png was not drawn: RuntimeError: no TeX here" in capsys.readouterr().err
    assert list(contents(tmp_path)) == ["depth-distribution.csv"]
