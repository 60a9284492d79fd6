"""The wheels that go with an export, and writing an export into a folder."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import minisd.version
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind

PYTHON = "3.11"
"""The Python that the wheels are for."""
NEEDED = ("numpy", "threadpoolctl", "filelock", "tqdm")
"""What minisd needs to grade."""
WHEEL = Kind("a wheel", UserError, if_missing="give its folder", if_damaged="make it again")


def wheels(given: Path | None, needed: tuple[str, ...] = NEEDED) -> dict[str, bytes]:
    """Return the wheels of minisd and of what it needs, by file name.

    Parameters
    ----------
    given : path, optional
        A folder that has them. Without it they are made and downloaded.

    Raises
    ------
    UserError
        If one is not there, or there are several, or it cannot be made.
    """
    if given is not None:
        return _read(given, needed)
    with tempfile.TemporaryDirectory(prefix="minisd-wheels-") as folder:
        _make(Path(folder), needed)
        return _read(Path(folder), needed)


def _read(folder: Path, needed: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    for name in ("minisd", *needed):
        found = [p for p in folder.glob("*.whl") if p.name.lower().startswith(f"{name}-")]
        if not found:
            raise UserError(f"there is no wheel of {name} in {folder}")
        if len(found) > 1:
            raise UserError(f"there are {len(found)} wheels of {name} in {folder}: leave one")
        with WHEEL.reading(found[0]) as file:
            files[found[0].name] = file.bytes()
    return files


def _make(folder: Path, needed: tuple[str, ...]) -> None:
    """Make the wheel of minisd, and download those that it needs."""
    root = Path(minisd.version.__file__).parents[1]
    if not (root / "pyproject.toml").exists():
        raise UserError("the wheel of minisd is made from a checkout: give a folder with --wheels")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    only = ["--only-binary=:all:", "--python-version", PYTHON, "--platform", "manylinux2014_x86_64"]
    only += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64"]
    lines = [[*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(root)]]
    if needed:
        lines.append([*pip, "download", *only, "--dest", str(folder), *needed])
    for line in lines:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise UserError(f"the wheels cannot be made ({last}): give a folder with --wheels")


def write_folder(out: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files by name into a folder. What is there already is not replaced.

    What begins with ``#!`` can be run; nobody else can read a zip, which has the secret seed.

    Raises
    ------
    UserError
        If a file is there with other contents; then nothing is written.
    """
    contents = {
        out / name: text.encode() if isinstance(text, str) else text for name, text in files.items()
    }
    new = {}
    for path, content in contents.items():
        if path.exists():
            with WRITTEN.reading(path) as file:
                if file.bytes() != content:
                    raise UserError(
                        f"{path} is there already: move it away, or choose another --out"
                    )
        else:
            new[path] = content
    for path, content in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        if content.startswith(b"#!"):
            path.chmod(0o755)
        if path.suffix in (".zip", ".toml"):
            path.chmod(0o600)


WRITTEN = Kind(
    "a file of an export", UserError, if_missing="export again", if_damaged="move it away"
)
