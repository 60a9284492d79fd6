"""An autograder for Gradescope: a zip, and what it runs for each submission.

Gradescope unpacks the zip into /autograder/source and runs ``setup.sh`` once, as root. For each
submission it runs /autograder/run_autograder, which has to write /autograder/results/results.json.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from minisd.course import bundle
from minisd.course.export import earlier, packages
from minisd.course.export.earlier import NOT_GRADED
from minisd.course.export.packages import PYTHON
from minisd.course.report import Report, explained, failing_before
from minisd.course.settings import OfAssignment
from minisd.errors import UserError
from minisd.files import write_atomically

VISIBILITY = {
    "verdict": "visible",
    "after_due": "after_due_date",
    "after_published": "after_published",
}
"""Gradescope's words for `OfReport.show_hidden`."""
METADATA = "submission_metadata.json"
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
grader() { "$home/venv/bin/python" -m minisd.course.export.gradescope "$1" "$home"; }
if ! grader run && ! grader gave-up; then
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
    of = opened.of
    before = earlier.read(home / METADATA)
    next_time = before.next_time(of.daily_limit)
    if next_time is not None:
        said = (
            f"{of.daily_limit + 1} submissions of the last 24 hours were graded, and this one was "
            f"not: the next one is from {next_time:%Y-%m-%d %H:%M %Z} on. Your last score stays. "
            f"'minisd course check {opened.name}' has no limit."
        )
        _write(home, _without_tests(said, before.score, {NOT_GRADED: True}))
        return
    try:
        code = opened.read(home / "submission")
        report = opened.grade(code, student=before.student, user=_user())
        report = failing_before(report, before.failed())
        late = of.late(before.minutes_after(of.due), opened.extra_days(before.names))
        content = results(report, of, *late, opened.show_hidden)
    except UserError as error:
        content = _without_tests(str(error), 0)
    _write(home, content)


def gave_up(home: Path) -> None:
    """Write the results of a submission with which the grader itself has failed."""
    said = "The grader has failed. That is not your fault: tell your instructor."
    score = earlier.read(home / METADATA).score
    _write(home, _without_tests(f"{said} Your last score stays.", score, {NOT_GRADED: True}))


def _without_tests(said: str, score: float, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"score": score, "output": said, "output_format": "text", "tests": []}
    return {**content, "stdout_visibility": "hidden", "extra_data": extra or {}}


def _write(home: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1)
    (home / "results").mkdir(exist_ok=True)
    write_atomically(home / "results" / "results.json", lambda s: s.write(text.encode()))


def _user() -> str | None:
    """The user that student code runs as, as ``setup.sh`` has it; None for the same user."""
    return os.environ.get("STUDENT", "student") or None


def results(
    report: Report,
    of: OfAssignment,
    days: int = 0,
    lost: float = 0,
    show_hidden: str = "verdict",
) -> dict[str, Any]:
    """Return a report as Gradescope's results.json: one test for each property.

    ``days`` of delay cost a share ``lost`` of the points.
    """
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
            "visibility": VISIBILITY[show_hidden],
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
    {"run": run, "gave-up": gave_up, "self-test": self_test}[sys.argv[1]](Path(sys.argv[2]))
