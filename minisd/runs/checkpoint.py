"""The checkpoint: arrays and JSON in one NPZ file, without pickle.

An NPZ is a zip of plain arrays, each with a checksum. Everything else (settings, history, the
states of the random generators) is JSON in one of these arrays. So a checkpoint is always a single
file. It is written under another name first, then renamed, and it is checked when it is read.
"""

import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array, to_device, to_numpy
from minisd.errors import CheckpointError
from minisd.files import write_atomically
from minisd.layers import Layer

FORMAT = 1
_META = "meta.json"


def save(path: str | Path, arrays: dict[str, Array], meta: dict[str, Any]) -> None:
    """Write ``arrays`` and ``meta`` to ``path``. If that fails, an existing file is unchanged.

    Parameters
    ----------
    arrays : dict
        NumPy or CuPy arrays by name.
    meta : dict
        Anything JSON can hold; no NaN or infinity.

    Raises
    ------
    CheckpointError
        If the file cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    contents = {name: to_numpy(array) for name, array in arrays.items()}
    meta = {"format": FORMAT, "digest": _digest(contents), **meta}
    text = json.dumps(meta, allow_nan=False)
    contents[_META] = np.frombuffer(text.encode(), np.uint8)
    packed = io.BytesIO()  # in memory first: a zip file fails badly on a full disk
    np.savez(packed, **contents)  # type: ignore[arg-type]
    try:
        write_atomically(path, lambda stream: stream.write(packed.getbuffer()))
    except OSError as error:
        previous = "; the previous checkpoint is unchanged" if path.exists() else ""
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror or error}){previous}"
        ) from error


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a whole checkpoint, verify its checksums, and return (arrays, meta).

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, not a checkpoint, or of another format.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop(_META).tobytes())
        version, digest = meta["format"], meta.pop("digest")
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
        OverflowError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # a damaged zip can fail in any of these ways
        raise CheckpointError(
            f"{path} is not a whole checkpoint: truncated, damaged, or another kind of file "
            f"({error})"
        ) from error
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, but this version of minisd reads {FORMAT}: "
            "use the version of minisd that wrote it"
        )
    if digest != _digest(arrays):
        raise CheckpointError(f"{path} is damaged: its arrays are not the ones that were saved")
    return arrays, meta


def layer_arrays(layer: Layer) -> dict[str, Array]:
    """Return the parameters and running statistics of a network by dotted name (not copied)."""
    arrays = {name: parameter.data for name, parameter in layer.parameters()}
    return arrays | dict(layer.buffers())


def check_fits(targets: dict[str, Array], arrays: dict[str, Array], where: Path) -> None:
    """Raise a CheckpointError unless names, shapes and dtypes of the arrays are the same."""
    missing, extra = set(targets) - set(arrays), set(arrays) - set(targets)
    if missing or extra:
        example = f"lacks {min(missing)}" if missing else f"has {min(extra)}, which is unknown here"
        raise CheckpointError(f"{where} is of another network: it {example}")
    for name, target in targets.items():
        array = arrays[name]
        if array.shape != target.shape or array.dtype != target.dtype:
            raise CheckpointError(
                f"{where} is of another network: {name} is {array.shape} {array.dtype} there, "
                f"{target.shape} {target.dtype} here"
            )


def restore(targets: dict[str, Array], arrays: dict[str, Array], where: Path) -> None:
    """Copy ``arrays`` into ``targets``, in place and by name, if all of them fit."""
    check_fits(targets, arrays, where)
    for name, target in targets.items():
        device = "cpu" if isinstance(target, np.ndarray) else "cuda"
        target[...] = to_device(arrays[name], device)


def _digest(arrays: dict[str, Array]) -> str:
    """Return a checksum of all names and arrays: the zip's own leave out its directory."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(f"{name} {array.dtype} {array.shape}".encode())
        hasher.update(array.data)
    return hasher.hexdigest()


def with_prefix(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Put ``prefix/`` before every name."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def without_prefix(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays whose names begin with ``prefix/``, without the prefix."""
    return {
        name.removeprefix(f"{prefix}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{prefix}/")
    }
