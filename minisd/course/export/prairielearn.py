"""A question for PrairieLearn, and what grades it there, in a container without a network.

PrairieLearn puts what the student has uploaded into /grade/student and the question's ``tests``
into /grade/tests, and starts the script ``tests/run.sh``, which has to write
/grade/results/results.json. What is in ``tests`` is never shown to students.
"""

import html
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from minisd.course import bundle, make, own
from minisd.course.bundle import Export
from minisd.course.export import packages
from minisd.course.export.packages import PYTHON
from minisd.course.report import Report, explained
from minisd.course.scan import scan
from minisd.course.settings import OfAssignment
from minisd.errors import UserError
from minisd.files import write_atomically

SECONDS = 120
"""After which PrairieLearn gives up; the script does so a little earlier, and says it."""
MOST_LETTERS = 2000
"""Of what is said of a property; the file of results may have 1 MB."""

RUN = f"""\
#!/usr/bin/env bash
# PrairieLearn starts this in the container, once for each submission.
home="${{GRADE:-/grade}}"
mkdir -p "$home/results"

grade() {{
    set -euo pipefail
    python{PYTHON} -m venv --without-pip "$home/venv"
    for wheel in "$home"/tests/wheels/*.whl; do
        python{PYTHON} -m zipfile -e "$wheel" "$home/venv/lib/python{PYTHON}/site-packages"
    done
    student="${{STUDENT-student}}" # empty: student code runs as the same user
    if [ -n "$student" ]; then
        id "$student" > /dev/null 2>&1 || useradd --no-create-home "$student"
        chmod 0700 "$home/tests" "$home/student" "$home/results"
    fi
    cd /
    exec timeout {SECONDS - 15} "$home/venv/bin/python" \\
        -m minisd.course.export.prairielearn "$home" "$student"
}}

refuse() {{
    printf '{{"gradable": false, "format_errors": ["%s"]}}\\n' "$1" > "$home/results/results.json"
}}

(grade)
case "$?" in
0) ;;
124) refuse "Grading took too long: does one of your functions never end?" ;;
*) refuse "The grader has failed. That is not your fault: tell your instructor." ;;
esac
"""

PAGE = """\
<pl-question-panel>
  <p><strong>{title}</strong>: {points:g} points, about {hours:.0f} hours.</p>
  <p>Write the bodies of the functions in
    <pl-file-download file-name="{name}.py"></pl-file-download>, check them on your own machine with
    <code>minisd course check {name}</code>, as often as you like, and upload the file.</p>
  <table class="table table-sm">
    <tr><th>task</th><th></th><th>points</th></tr>
{rows}
  </table>
  <pl-file-upload file-names="{name}.py"{optional}></pl-file-upload>
</pl-question-panel>

<pl-submission-panel>
  <pl-external-grader-results></pl-external-grader-results>
  <pl-file-preview></pl-file-preview>
</pl-submission-panel>
"""


def export(folder: Path, settings_path: Path, out: Path, *, wheels: Path | None = None) -> str:
    """Write the folder of a question; return what is to be done with it.

    See `minisd.course.export`.
    """
    exported = bundle.export(folder, settings_path)
    if own.FILE in exported.kit.files:
        raise UserError(
            f"{exported.assignment.title} needs to know whose a submission is, which this export "
            "does not: use 'grade', or Gradescope"
        )
    files: dict[str, str | bytes] = {
        "info.json": json.dumps(about(exported), indent=2) + "\n",
        "question.html": page(exported),
        f"clientFilesQuestion/{exported.name}.py": make.handout(exported.assignment),
        "tests/run.sh": RUN,
    }
    for name, content in exported.secret.items():
        files[f"tests/{name}"] = content
    for name, content in packages.wheels(wheels).items():
        files[f"tests/wheels/{name}"] = content
    packages.write_folder(out, files)
    return (
        "put this folder into 'questions' of your course; it was not tried on PrairieLearn itself, "
        "so try one submission there"
    )


def about(exported: Export) -> dict[str, Any]:
    """Return ``info.json``. The same assignment has the same identifier each time."""
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"minisd course {exported.name}")),
        "title": exported.assignment.title,
        "topic": "Deep learning",
        "tags": ["minisd"],
        "type": "v3",
        "gradingMethod": "External",
        "singleVariant": True,
        "showCorrectAnswer": False,
        "partialCredit": True,
        "externalGradingOptions": {
            "enabled": True,
            "image": f"python:{PYTHON}-slim",
            "entrypoint": "/grade/tests/run.sh",
            "timeout": SECONDS,
            "enableNetworking": False,
        },
    }


def page(exported: Export) -> str:
    """Return ``question.html``: the tasks, the handout, and where to upload it."""
    tasks, files = exported.tasks, [*exported.kit.files, *exported.kit.enclosed]
    rows = [
        f"    <tr><td>{task.number}</td><td>{html.escape(task.title)}</td>"
        f"<td>{exported.points(task.number):g}</td></tr>"
        for task in tasks
    ]
    return PAGE.format(
        title=html.escape(exported.assignment.title),
        name=exported.name,
        optional=f' optional-file-names="{", ".join(files)}"' if files else "",
        points=sum(exported.points(task.number) for task in tasks),
        hours=sum(task.minutes for task in tasks) / 60,
        rows="\n".join(rows),
    )


# ---- on PrairieLearn ----


def run(home: Path, user: str | None) -> None:
    """Grade the submission in ``home/student``, and write the results."""
    opened = bundle.Bundle(home / "tests")
    try:
        code = opened.read(home / "student")
        refused = scan(code.text).remarks
        content = refusal(refused) if refused else results(opened.grade(code, user=user), opened.of)
    except UserError as error:
        content = refusal([str(error)])
    text = json.dumps(content, indent=1)
    (home / "results").mkdir(exist_ok=True)
    write_atomically(home / "results" / "results.json", lambda s: s.write(text.encode()))


def refusal(errors: list[str]) -> dict[str, Any]:
    """Return the results of what cannot be graded: it costs the student no attempt."""
    return {"gradable": False, "format_errors": errors}


def results(report: Report, of: OfAssignment) -> dict[str, Any]:
    """Return a report as PrairieLearn's results.json: one test for each property."""
    tests = [
        {
            "name": f"{task.number} {line.name}",
            "description": task.title,
            "points": round(line.earned, 4),
            "max_points": line.points,
            "message": ("\n".join(explained(line, of.hints)) or "right")[:MOST_LETTERS],
        }
        for task in report.tasks
        for line in task.properties
    ]
    waiting = [task.head for task in report.tasks if task.waiting]
    return {
        "gradable": True,
        "score": round(report.earned / report.points, 6),
        "message": "\n".join([*report.remarks, *waiting])[:MOST_LETTERS],
        "output": f"graded with seed {report.seed_digest}, isolation {report.isolation}",
        "tests": tests,
    }


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2] or None)
