"""A starter repository for GitHub Classroom, with a workflow that checks each task.

A student can change the workflow, and it knows the public cases only. So what it says is feedback;
grades come from ``minisd course grade`` on the cloned repositories.
"""

import json
from pathlib import Path

from minisd.course import bundle, make
from minisd.course.export import packages
from minisd.course.export.packages import PYTHON

HEAD = f"""\
# Feedback on each push, not the grade: these are the public checks of `minisd course check`, and
# whoever owns the repository can change this file. The grade is made elsewhere, of the same
# properties, with other numbers and some other shapes.
name: feedback
on: [push, workflow_dispatch]
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    timeout-minutes: 15
    defaults:
      run:
        shell: bash
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "{PYTHON}"
      - name: Install minisd
        id: install
        run: pip install --quiet wheels/minisd-*.whl
"""
STEP = """\
      - name: {title}
        if: ${{{{ !cancelled() && steps.install.outcome == 'success' }}}}
        run: minisd course check {name} {name}.py --task {number}
"""
NOTE = """\

Every push is checked, task by task: see "Actions". That is feedback, not the grade, which is made
of the same properties with other numbers and some other shapes. To check on your own machine:

```sh
pip install wheels/minisd-*.whl
minisd course check {name} {name}.py
```
"""


def export(folder: Path, settings_path: Path, out: Path, *, wheels: Path | None = None) -> str:
    """Write the starter folder: handout, workflow, minisd's wheel, which has no answers.

    Nothing of the settings goes into it but which tasks are set. Returns what is to be done with
    it. See `minisd.course.export`.
    """
    exported = bundle.export(folder, settings_path)
    name = exported.name
    steps = [
        STEP.format(title=json.dumps(f"{task.number} {task.title}"), name=name, number=task.number)
        for task in exported.tasks
        if not task.criteria
    ]
    files: dict[str, str | bytes] = {
        f"{name}.py": make.handout(exported.assignment),
        "README.md": make.about(exported.assignment) + NOTE.format(name=name),
        ".github/workflows/classroom.yml": HEAD + "".join(steps),
    }
    for wheel, content in packages.wheels(wheels, needed=()).items():
        files[f"wheels/{wheel}"] = content
    packages.write_folder(out, files)
    return (
        "make it a template repository, and grade the clones with 'minisd course grade'; it was "
        "not tried on GitHub itself, so push once there"
    )
