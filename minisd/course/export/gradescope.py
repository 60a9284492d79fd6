"""An autograder for Gradescope: a zip, and what it runs for each submission.

Gradescope unpacks the zip into /autograder/source and runs ``setup.sh`` once, as root. For each
submission it runs /autograder/run_autograder, which has to write /autograder/results/results.json.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from minisd.course import kit as kits
from minisd.course import settings as course_settings
from minisd.course import submissions
from minisd.course.grading import grade
from minisd.course.report import Report, explained
from minisd.course.settings import OfAssignment
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind

PYTHON = "3.11"
"""The Python that the wheels are for."""
NEEDED = ("numpy", "threadpoolctl", "filelock", "tqdm")
METADATA = Kind(
    "the metadata of a submission", UserError, if_missing="see Gradescope", if_damaged="run again"
)

SETUP = f"""\
#!/usr/bin/env bash
# Runs once, as root, when Gradescope builds the image.
set -euo pipefail
home="${{AUTOGRADER:-/autograder}}"
cd "$home/source"
if ! command -v python{PYTHON} > /dev/null; then
    apt-get update
    apt-get install -y --no-install-recommends python{PYTHON} python{PYTHON}-venv || {{
        echo "this image has no Python {PYTHON}: choose one with Ubuntu 22.04 or later"
        exit 1
    }}
fi
python{PYTHON} -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --no-index --no-deps wheels/*.whl
student="${{STUDENT-student}}" # empty: student code runs as the same user
if [ -n "$student" ]; then
    id "$student" > /dev/null 2>&1 || useradd --no-create-home --shell /usr/sbin/nologin "$student"
    chmod 0700 "$home/source"
fi
cp run_autograder "$home/run_autograder"
chmod +x "$home/run_autograder"
"$home/venv/bin/python" -m minisd.course.export.gradescope self-test "$home"
"""

RUN = """\
#!/usr/bin/env bash
# Runs for each submission.
home="${AUTOGRADER:-/autograder}"
cd "$home"
mkdir -p results
if ! "$home/venv/bin/python" -m minisd.course.export.gradescope run "$home"; then
    printf '%s' '{"output": "The grader has failed. That is not your fault: tell your instructor.",
"stdout_visibility": "hidden", "tests": [], "score": 0}' > results/results.json
fi
"""


def export(folder: Path, settings_path: Path, out: Path, *, wheels: Path | None = None) -> None:
    """Write the zip to upload.

    Parameters
    ----------
    folder : path
        Source of the assignment, in a checkout of minisd.
    settings_path : path
        ``course.toml``.
    wheels : path, optional
        A folder with the wheels of minisd and what it needs. Default: they are made and downloaded.
    """
    course_settings.read(settings_path)  # raises an error if it cannot be used
    if out.exists():
        raise UserError(f"{out} is there already: move it away, or choose another --out")
    files = {"setup.sh": SETUP.encode(), "run_autograder": RUN.encode()}
    with course_settings.SETTINGS.reading(settings_path) as file:
        files["course.toml"] = file.bytes()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".py", ".md", ".csv", ".json")):
        with kits.source.ASSIGNMENT.reading(path) as file:
            files[f"{folder.name}/{path.name}"] = file.bytes()
    found = sorted((wheels or _made_wheels(out.parent)).glob("*.whl"))
    for name in ("minisd", *NEEDED):
        if not any(path.name.lower().startswith(f"{name}-") for path in found):
            raise UserError(f"there is no wheel of {name} in {wheels}")
    for path in found:
        with kits.source.ASSIGNMENT.reading(path) as file:
            files[f"wheels/{path.name}"] = file.bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2016, 3, 30, 0, 0, 0))  # the same zip each time
            info.external_attr = (0o755 if "." not in name or name.endswith(".sh") else 0o644) << 16
            archive.writestr(info, content)
    write_atomically(out, lambda stream: stream.write(packed.getbuffer()))


def _made_wheels(parent: Path) -> Path:
    """Make the wheel of minisd, and download those that it needs."""
    wheels = parent / "wheels"
    wheels.mkdir(exist_ok=True)
    root = Path(kits.__file__).parents[2]
    if not (root / "pyproject.toml").exists():
        raise UserError("the wheel of minisd is made from a checkout: give a folder with --wheels")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    only = ["--only-binary=:all:", "--python-version", PYTHON, "--platform", "manylinux2014_x86_64"]
    only += ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64"]
    for line in (
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(root)],
        [*pip, "download", *only, "--dest", str(wheels), *NEEDED],
    ):
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise UserError(f"the wheels cannot be made ({last}): give a folder with --wheels")
    return wheels


# ---- on Gradescope ----


def run(home: Path) -> None:
    """Grade the submission in ``home/submission``, and write the results."""
    folder = next((home / "source").glob("a?_*"))
    course = course_settings.read(home / "source" / "course.toml")
    of = course.of(folder.name[:2])
    name = folder.name[:2]
    late = _minutes_late(home / "submission_metadata.json", of)
    try:
        kit = kits.full(folder, course.seed)
        path = submissions.in_folder(home / "submission", name)
        code = submissions.read(path, name, kit.files, path.parent)
        report = grade(
            kit,
            code.text,
            files=code.files,
            tasks=tuple(of.tasks),
            user=_user(),
            seconds_per_call=of.seconds_per_call,
            memory_mb=of.memory_mb,
        )
        report.remarks += code.remarks
        content = results(report, of, late)
    except UserError as error:
        content = {"score": 0, "output": str(error), "stdout_visibility": "hidden", "tests": []}
    text = json.dumps(content, indent=1)
    (home / "results").mkdir(exist_ok=True)
    write_atomically(home / "results" / "results.json", lambda s: s.write(text.encode()))


def _user() -> str | None:
    """The user that student code runs as, as ``setup.sh`` has it; None for the same user."""
    return os.environ.get("STUDENT", "student") or None


def _minutes_late(path: Path, of: OfAssignment) -> int:
    if of.due is None or not path.exists():
        return 0
    with METADATA.reading(path) as file:
        when = datetime.fromisoformat(file.json()["created_at"])
        return max(0, int((when - of.due).total_seconds() // 60))


def results(report: Report, of: OfAssignment, minutes_late: int = 0) -> dict[str, Any]:
    """Return a report as Gradescope's results.json: one test for each property."""
    days = max(0, -(-minutes_late // 1440) - of.slip_days)
    share = 1 - min(1.0, days * of.late_per_day)
    tests = [
        {
            "name": line.name,
            "number": task.number,
            "score": round(line.earned * share, 2),
            "max_score": line.points,
            "status": "passed" if line.earned == line.points else "failed",
            "output": "\n\n".join(explained(line, of.hints)) or "right",
            "output_format": "text",
            "tags": [line.diagnosis.name] if line.diagnosis and line.diagnosis.name else [],
            "visibility": "visible",
        }
        for task in report.tasks
        for line in task.properties
    ]
    said = [*report.remarks, *(task.head for task in report.tasks if task.waiting)]
    if share < 1:
        said.append(f"{days} days late: {1 - share:.0%} of {report.earned:g} points are taken off")
    return {
        "score": round(report.earned * share, 2),
        "output": "\n".join(said),
        "output_format": "text",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": report.as_json(),
    }


def self_test(home: Path) -> None:
    """Grade the reference and the empty handout, so that a broken image is seen at once."""
    from minisd.course import make

    folder = next((home / "source").glob("a?_*"))
    assignment = kits.source.read(folder / "assignment.py")
    kit = kits.full(folder, "self-test")
    for text, files, points in (
        (assignment.solution, assignment.files, kit.points),
        (make.handout(assignment), {}, 0),
    ):
        report = grade(kit, text, files=files, user=_user())
        if report.earned != points:
            raise UserError(f"{report.earned:g} points where {points:g} are right")
    print(f"{assignment.title}: the reference has {kit.points:g} points, the empty handout none")


if __name__ == "__main__":
    {"run": run, "self-test": self_test}[sys.argv[1]](Path(sys.argv[2]))
