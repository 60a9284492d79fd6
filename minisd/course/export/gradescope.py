"""An autograder for Gradescope: a zip, and what it runs for each submission.

Gradescope unpacks the zip into /autograder/source and runs ``setup.sh`` once, as root. For each
submission it runs /autograder/run_autograder, which has to write /autograder/results/results.json.
"""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from minisd.course import bundle
from minisd.course.export import packages
from minisd.course.export.packages import PYTHON
from minisd.course.report import Report, explained
from minisd.course.settings import OfAssignment
from minisd.errors import UserError
from minisd.files import write_atomically
from minisd.readers import Kind

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


def export(folder: Path, settings_path: Path, out: Path, *, wheels: Path | None = None) -> str:
    """Write the zip to upload; return what is to be done with it. See `minisd.course.export`."""
    if out.exists():
        raise UserError(f"{out} is there already: move it away, or choose another --out")
    files = {"setup.sh": SETUP.encode(), "run_autograder": RUN.encode()}
    files |= bundle.export(folder, settings_path).secret
    for name, content in packages.wheels(wheels).items():
        files[f"wheels/{name}"] = content
    packed = bundle.zipped(files)
    write_atomically(out, lambda stream: stream.write(packed))
    return "upload it; it was not tried on Gradescope itself, so try one submission there"


# ---- on Gradescope ----


def run(home: Path) -> None:
    """Grade the submission in ``home/submission``, and write the results."""
    opened = bundle.Bundle(home / "source")
    late = _minutes_late(home / "submission_metadata.json", opened.of)
    try:
        report = opened.grade(opened.read(home / "submission"), user=_user())
        content = results(report, opened.of, late)
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
    days, lost = of.late(minutes_late)
    share = 1 - lost
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
    if lost:
        said.append(f"{days} days late: {lost:.0%} of {report.earned:g} points are taken off")
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
    print(bundle.Bundle(home / "source").check(user=_user()))


if __name__ == "__main__":
    {"run": run, "self-test": self_test}[sys.argv[1]](Path(sys.argv[2]))
