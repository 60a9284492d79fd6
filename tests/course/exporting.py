"""What the tests of the exports have in common."""

import json
import zipfile

from test_assignments import FOLDERS, assignment

from minisd.cli import main

SOURCES = FOLDERS["a2"].parent
SEED = "0123456789abcdef-secret"
SHORT = f'seed = "{SEED}"\n[a2]\ntasks = ["2.1"]\n'
BROKEN = "def conv_output_size(:"


def export(kind, out="out", name="a2", wheels="wheels"):
    given = ["--wheels", wheels] if wheels and kind != "nbgrader" else []
    return main(["course", "export", name, kind, "--sources", str(SOURCES), "--out", out, *given])


def unzipped(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


CHANGES = {
    "right": ("", ""),
    "mistake": ("dframe[:, :, rows, columns] +=", "dframe[:, :, rows, columns] ="),
    "turned": ("[:, :, k, j]", "[:, :, KH - 1 - k, KW - 1 - j]"),
}
"""What is changed in the solution. "turned" has a wrong forward, and the gradient of that."""


def solved(task, kind):
    """The text of a task as a student hands it in."""
    text = assignment("a2").rewritten(task.text, lambda indent, body, blank: body)
    return text.replace(*CHANGES[kind])


def fill(released, kind, out):
    """Put answers into a notebook as it was given out."""
    content = json.loads(released.read_text())
    for task in assignment("a2").tasks:
        for cell in content["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "code" and task.names and f"def {task.names[0]}(" in text:
                cell["source"] = text if kind == "empty" else solved(task, kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content))
