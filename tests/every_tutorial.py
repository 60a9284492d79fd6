"""Run all tutorials in full, each alone, and write how long that took into their README.

    python -m tests.every_tutorial

A test compares the table there with what was measured here and with what the tutorials say.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from minisd.tutorial import notebooks

FOLDER = Path(__file__).resolve().parent.parent / "tutorials"
README = FOLDER / "README.md"
SECONDS = FOLDER / "seconds.json"
BEGIN, END = "<!-- tutorials: begin -->\n", "<!-- tutorials: end -->\n"
LIMIT = 120  # seconds, in full, on two cores


def run(script: Path, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a tutorial as a reader would, in a folder of its own; a warning is an error."""
    line = [sys.executable, "-W", "error", str(script), *options]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, encoding="utf-8")


def measure() -> None:
    """Run each in full and write its seconds."""
    from minisd import machine
    from tests.benchmarks import hardware

    seconds = {}
    for script in notebooks.scripts(FOLDER):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            done = run(script, Path(folder), "--solutions")
            seconds[script.stem] = round(time.perf_counter() - began, 1)
        print(f"{seconds[script.stem]:6.1f} s  {script.name}", flush=True)
        if done.returncode:
            sys.exit(f"{done.stdout}\n{done.stderr}")
        if seconds[script.stem] > LIMIT:
            sys.exit(f"{script.name} takes more than {LIMIT} seconds")
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": hardware.processor(),
        "cores": machine.available_cores(),
        "seconds": seconds,
    }
    SECONDS.write_text(json.dumps(found, indent=2) + "\n")


def table() -> str:
    """Return what the tutorials' first cells say, and the seconds measured, as Markdown."""
    measured = json.loads(SECONDS.read_text())
    lines = [
        f"The last column is measured: {measured['processor']}, {measured['cores']} cores, "
        f"{measured['date']}; the minutes are a guess at yours.",
        "",
        "| | tutorial | you will learn | minutes | runs in |",
        "| --- | --- | --- | --- | --- |",
    ]
    for script in notebooks.scripts(FOLDER):
        about = notebooks.about(script)
        links = f"[{about.title}]({script.name}) ([notebook]({script.stem}.ipynb))"
        seconds = measured["seconds"].get(script.stem)  # None: newer than the last run of all
        runs = "not measured" if seconds is None else f"{seconds:.0f} s"
        lines.append(f"| {about.number} | {links} | {about.learn} | {about.minutes} | {runs} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.benchmarks.readme import parts_of

    measure()
    before, _, after = parts_of(README.read_text(encoding="utf-8"), BEGIN, END)
    README.write_text(before + table() + after, encoding="utf-8")
