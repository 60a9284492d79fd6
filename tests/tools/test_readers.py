"""All reading is in `minisd.readers`: a new place that opens a file has to be argued for here."""

import ast
from pathlib import Path

import minisd

ROOT = Path(minisd.__file__).parent
READERS = {
    *("open", "fdopen", "read_text", "read_bytes", "readlines", "readinto"),
    *("load", "loads", "loadtxt", "genfromtxt", "fromfile", "frombuffer", "memmap", "loadmat"),
    *("whosmat", "ZipFile", "reader", "DictReader", "imread", "fromstring"),
}
ALLOWED = {
    "readers.py": {"open", "loads", "ZipFile", "readinto"},  # the mechanism itself
    "files.py": {"open"},  # writing
    "streams.py": {"open", "fdopen"},  # standard streams
    "locks.py": {"open", "read_text"},  # a lock, and what is on its mark, with a guard
    # Whether minisd wrote it, before it is replaced:
    "experiments/publish.py": {"read_bytes"},
    # What these read was opened by `Kind.reading`:
    "data/cifar.py": {"frombuffer"},
    "distributed/mpi.py": {"frombuffer"},  # of a message
    "data/download.py": {"open"},
    "data/own_folder.py": {"open", "load"},  # Pillow's, of bytes
    "data/svhn.py": {"loadmat", "whosmat"},
    "experiments/paper_curves.py": {"reader"},
    "experiments/gallery.py": {"DictReader"},
    "course/rubric.py": {"DictReader"},
    "course/handouts/a6/experiment.py": {"reader", "load"},  # and a data set's own `load`
    "data/matlab.py": {"frombuffer"},
    # Downloads, and the archives among them:
    "data/staging.py": {"open"},
    "data/unpack.py": {"open"},
    "course/settings.py": {"loads"},
    "course/submissions.py": {"ZipFile", "open"},
    # The other end of a pipe, and what it may write:
    "course/worker.py": {"fdopen", "frombuffer", "open", "loads"},
    "course/sandbox.py": {"open"},
    # Bytes of its own:
    "cli/course_students.py": {"ZipFile"},  # written
    "course/bundle.py": {"ZipFile"},  # written, and opened by `Kind.reading`
    "runs/checkpoint.py": {"loads", "frombuffer"},
    "experiments/pool.py": {"loads"},
    # Not files of a user:
    "machine/slabs.py": {"read_text"},  # what the system says of itself, read with a guard
    "tutorial/excerpt.py": {"read_text"},
    "tutorial/tools.py": {"read_text"},  # source code of the tutorials
    "tutorial/notebooks.py": {"read_text", "reads", "loads"},
    # Of our own names:
    "data/__init__.py": {"load"},
    "runs/run.py": {"load"},
    "runs/saved_state.py": {"load"},
    "runs/weights.py": {"load"},
    "runs/export.py": {"load"},
    "runs/folder.py": {"load"},
    "cli/commands.py": {"load"},
    "experiments/study.py": {"load"},
    "experiments/trained.py": {"load"},
    "experiments/gradients_by_depth.py": {"load"},
    "experiments/ensemble.py": {"load"},
    "experiments/lesion.py": {"load"},
}


def calls_of_readers(path: Path) -> set[str]:
    """Names of the called functions that could read a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found |= {name} & READERS
    return found


def test_files_are_opened_for_reading_in_one_place():
    found = {
        str(path.relative_to(ROOT)): names
        for path in sorted(ROOT.rglob("*.py"))
        if (names := calls_of_readers(path))
    }
    new = {place: names - ALLOWED.get(place, set()) for place, names in found.items()}
    assert not {place: names for place, names in new.items() if names}


def test_a_new_place_would_be_found(tmp_path):
    path = tmp_path / "new.py"
    for line in ("open('x')", "path.read_text()", "np.load(x)", "with path.open() as f: pass"):
        path.write_text(line)
        assert calls_of_readers(path), line
