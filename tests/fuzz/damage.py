"""Ways in which a file can be damaged: by accident, and so that its checksums are right again."""

import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]

ODD_VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 2**31, 2**63, 10**30, -(10**400), 0.5, -0.0, 1e308, 1e-320,
    "", "x", "nan", "\x1b[31m\u202e", "9" * 5000, [], [[]], {}, {"x": 1}, [1] * 100,
]  # fmt: skip
ODD_WORDS = [
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-1", b"0", b"null", b"true", b'""', b"[]",
    b"(", b"0x", b"1L", b"'\\d'", b"\xff", b"\x00", b"[" * 100_000, b'{"a":' * 2000,
]  # fmt: skip


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def longer(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice([b"\0", b"\n", b"x" * 100, content])


def piece(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.choice([1, 2, 10, 100, 4096]))


def lost(content: bytes, rng: random.Random) -> bytes:
    start, end = piece(content, rng)
    return content[:start] + content[end:]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    start, end = piece(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def twice(content: bytes, rng: random.Random) -> bytes:
    start, end = piece(content, rng)
    return content[:end] + content[start:]


def noisy(content: bytes, rng: random.Random) -> bytes:
    start, end = piece(content, rng)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def odd_word(content: bytes, rng: random.Random) -> bytes:
    """Put an odd word in the place of a number, or anywhere."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content[: 2**16]))
    start, end = rng.choice(numbers).span() if numbers else piece(content, rng)
    return content[:start] + rng.choice(ODD_WORDS) + content[end:]


BY_ACCIDENT: list[Damage] = [flipped, cut, longer, lost, zeroed, twice, noisy, odd_word]


def odd_json(content: bytes, rng: random.Random) -> bytes:
    """Change one value of JSON, or of a line of it; it stays JSON."""
    lines = content.split(b"\n")
    number = rng.choice([i for i, line in enumerate(lines) if line.strip()] or [0])
    try:
        value = json.loads(content)
    except ValueError:
        lines[number] = json.dumps(_changed(json.loads(lines[number]), rng)).encode()
        return b"\n".join(lines)
    return json.dumps(_changed(value, rng)).encode()


def odd_lines(content: bytes, rng: random.Random) -> bytes:
    """Lose, repeat or exchange whole lines."""
    *lines, _ = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(3):
        case 0:
            lines = lines[:i] + lines[max(i, j) + 1 :]
        case 1:
            lines.insert(i, lines[j])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
    return b"".join(line + b"\n" for line in lines)


def _changed(value: Any, rng: random.Random) -> Any:
    """Return ``value`` with one thing in it, at any depth, changed, missing or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = {k: v for k, v in value.items() if k != key}
        match rng.randrange(8):
            case 0:
                return changed
            case 1:
                return {**changed, key + "x": value[key]}
        return {**changed, key: _changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                return value[:place]
            case 1:
                return [*value, value[place]]
        return [*value[:place], _changed(value[place], rng), *value[place + 1 :]]
    return rng.choice(ODD_VALUES)


def odd_zip(content: bytes, rng: random.Random) -> bytes:
    """Damage one file of a zip, and pack it again: all checksums of the zip are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    place = rng.randrange(len(entries))
    name, inside = entries[place]
    match rng.randrange(6):
        case 0:
            del entries[place]
        case 1:
            entries[place] = (rng.choice(["x.npy", name[1:], "../" + name, "a" * 999]), inside)
        case 2:
            entries.append((name + rng.choice(["x", ".npy"]), inside))
        case 3:  # the header only
            entries[place] = (name, rng.choice(BY_ACCIDENT)(inside[:128], rng) + inside[128:])
        case _:
            entries[place] = (name, rng.choice(BY_ACCIDENT)(inside, rng))
    packed = io.BytesIO()
    how = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(packed, "w", how) as archive:
        for name, inside in entries:
            archive.writestr(name, inside)
    return packed.getvalue()
