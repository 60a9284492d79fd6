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
    with RESULTS.reading(path) as file:
        rows = file.rows(_parse)
        whole = file.bytes().rpartition(b"\n")
    if whole[2]:  # the last line was cut by a kill
        write_atomically(path, lambda stream: stream.write(whole[0] + whole[1]))
    return {key: result for key, result in rows if key is not None}


def _parse(line: str, before: list[tuple[str | None, Any]]) -> tuple[str | None, Any]:
    key, result, *checksum = json_value(line)
    if checksum and checksum != [_checksum(key, result)]:
        raise ValueError("it is not what was saved")
    return (key, result) if checksum else (None, None)


def add(path: Path, key: str, result: Any) -> None:
    """Append a result, so that it survives a power cut."""
    append_durably(path, json.dumps([key, result, _checksum(key, result)]) + "\n")


def _checksum(key: str, result: Any) -> str:
    text = json.dumps([key, result])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
