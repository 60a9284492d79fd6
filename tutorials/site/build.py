"""Build the site: every page, with the tutorials run, in ``build/site/html``.

    pip install -e '.[site]'
    python tutorials/site/build.py             # tutorials in full: about ten minutes on two cores
    python tutorials/site/build.py --quick     # tutorials with smaller numbers: about three

Nothing is written for the site alone but a few pages beside this file. `sources` collects the
others from where they stand (README, tutorials, results, docstrings) into ``build/site/source``,
Sphinx makes HTML of that, and MyST-NB runs the notebooks on the way. What a notebook has printed
is kept until a source file of the package or the notebook changes.
"""

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from sources import collect  # noqa: E402  # a script's own folder, on the path since the line above


def state_of_the_package() -> str:
    """Return a name that changes with any source file of the package."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "minisd").rglob("*.py")):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def outputs_folder(out: Path, quick: bool) -> Path:
    """Return the folder of what notebooks have printed; remove those of other sources."""
    kept = out / "outputs" / f"{'quick' if quick else 'full'}-{state_of_the_package()}"
    for other in kept.parent.glob(f"{kept.name.partition('-')[0]}-*"):
        if other != kept:
            shutil.rmtree(other)
    return kept


def main() -> int:
    """Collect the sources and run Sphinx; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="run the tutorials with small numbers")
    parser.add_argument("--without-outputs", action="store_true", help="do not run the tutorials")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="[build/site]")
    given = parser.parse_args()
    try:
        from sphinx.cmd.build import main as sphinx
    except ImportError:
        print("building the site needs Sphinx: pip install -e '.[site]'", file=sys.stderr)
        return 2
    out = given.out.resolve()
    collect(ROOT, out / "source")
    if given.quick:
        os.environ["MINISD_QUICK"] = "1"
    settings = {
        "nb_execution_mode": "off" if given.without_outputs else "cache",
        "nb_execution_cache_path": str(outputs_folder(out, given.quick)),
    }
    options = [part for name, value in settings.items() for part in ("-D", f"{name}={value}")]
    folders = ["-c", str(HERE), "-d", str(out / "doctrees"), str(out / "source"), str(out / "html")]
    status = sphinx(["--fail-on-warning", "--quiet", *options, *folders])
    if status == 0:
        print(f"the site is in {out / 'html'}: open index.html there")
    return status


if __name__ == "__main__":
    sys.exit(main())
