"""The results that an experiment has computed so far: one line each, as JSON, with a checksum.

A line is ``[key, result, checksum]``. A line without a checksum, of an earlier version, is left
out, so its result is computed again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from minisd.errors import RunFolderError
from minisd.files import append_durably, write_atomically
from minisd.readers import Kind, json_value

RESULTS = Kind(
    "the results of an experiment",
    RunFolderError,
    if_missing="run the experiment",
    if_damaged="remove it, and its results are computed again",
)


def load(path: Path) -> dict[str, Any]:
    """Return the results by key. A last line that was cut by a kill is removed from the file.

    Raises
    ------
    RunFolderError
        If another line is damaged.
    """
    if not path.exists():
        return {}
    results = {}
    with RESULTS.reading(path) as file:
        lines = file.lines()
        for number, line in enumerate(lines, start=1):
            key, result, *checksum = json_value(line)
            if checksum and checksum != [_checksum(key, result)]:
                raise ValueError(f"line {number} is not what was saved")
            if checksum:
                results[key] = result
        whole = "".join(line + "\n" for line in lines).encode()
        was_cut = len(whole) < file.size
    if was_cut:
        write_atomically(path, lambda stream: stream.write(whole))
    return results


def add(path: Path, key: str, result: Any) -> None:
    """Append a result, so that it survives a power cut."""
    append_durably(path, json.dumps([key, result, _checksum(key, result)]) + "\n")


def _checksum(key: str, result: Any) -> str:
    text = json.dumps([key, result])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
