"""The checkpoint: arrays and JSON in one NPZ file, without pickle.

An NPZ is a zip of plain arrays, each with a checksum. Everything else (settings, history, the
states of the random generators) is JSON in one of these arrays. So a checkpoint is always a single
file. It is written under another name first, then renamed, and it is checked when it is read.
"""

import hashlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minisd.backend import Array, to_device, to_numpy
from minisd.errors import CheckpointError
from minisd.files import write_atomically
from minisd.layers import Layer
from minisd.readers import Declared, Kind, json_object

FIRST_FORMAT, FORMAT = 1, 2
_META = "meta.json"
_MOST_META = 2**24  # bytes; a thousand epochs have about 200 KB

CHECKPOINT = Kind(
    "a whole checkpoint",
    CheckpointError,
    if_missing="give the folder of a run that has saved one",
    if_damaged="take the file from a backup, or train the run again into another folder",
)


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
    meta = json.loads(json.dumps({"format": FORMAT, **meta}, allow_nan=False))  # as it is read
    text = json.dumps({"digest": _digest(contents, meta), **meta})
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


def load(
    path: Path, check: Callable[[dict[str, Any], Declared], object] = lambda meta, declared: None
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a whole checkpoint, verify its checksums, and return (arrays, meta).

    Parameters
    ----------
    check : function of meta and of the declared arrays, optional
        Raises an error if they are not of the network that the checkpoint is read for. It is called
        before memory is taken for the arrays.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, not a checkpoint, or of another format.
    """
    with CHECKPOINT.reading(path) as file, file.npz() as npz:
        if math.prod(npz.declared[_META][0]) > _MOST_META:
            raise ValueError(f"{_META} is longer than {_MOST_META:,} bytes")
        meta = json_object(npz[_META].tobytes())
        version, digest = meta["format"], meta.pop("digest")
        if version not in (FIRST_FORMAT, FORMAT):
            raise CheckpointError(
                f"{path} has checkpoint format {version}, but this version of minisd reads "
                f"{FORMAT}: use the version of minisd that wrote it"
            )
        declared = {name: what for name, what in npz.declared.items() if name != _META}
        check(meta, declared)
        arrays = {name: npz[name] for name in declared}
        if digest != _digest(arrays, meta):
            raise ValueError("its contents are not the ones that were saved")
    return arrays, meta


def layer_arrays(layer: Layer) -> dict[str, Array]:
    """Return the parameters and running statistics of a network by dotted name (not copied)."""
    arrays = {name: parameter.data for name, parameter in layer.parameters()}
    return arrays | dict(layer.buffers())


def check_fits(targets: Declared, present: Declared, where: Path) -> None:
    """Raise a CheckpointError unless names, shapes and dtypes are the same."""
    missing = set(targets) - set(present)
    if missing:
        raise CheckpointError(f"{where} is of another network: it lacks {min(missing)}")
    check_known(targets, present, where)


def check_known(targets: Declared, present: Declared, where: Path) -> None:
    """Raise a CheckpointError unless all that is present is among the targets, and fits."""
    for name, (shape, dtype) in present.items():
        plain = name.rpartition("/")[2]
        if name not in targets:
            raise CheckpointError(
                f"{where} is of another network: it has {plain}, which is unknown here"
            )
        if (shape, dtype) != targets[name]:
            here = " ".join(map(str, targets[name]))
            raise CheckpointError(
                f"{where} is of another network: {plain} is {shape} {dtype} there, {here} here"
            )


def declare(arrays: dict[str, Array]) -> Declared:
    """Return shape and dtype of each array."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def restore(targets: dict[str, Array], arrays: dict[str, Array], where: Path) -> None:
    """Copy ``arrays`` into ``targets``, in place and by name, if all of them fit."""
    check_fits(declare(targets), declare(arrays), where)
    for name, target in targets.items():
        device = "cpu" if isinstance(target, np.ndarray) else "cuda"
        target[...] = to_device(arrays[name], device)


def _digest(arrays: dict[str, Array], meta: dict[str, Any]) -> str:
    """Return a checksum of everything: those in the zip leave out its directory."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(f"{name} {array.dtype} {array.shape}".encode())
        hasher.update(array.data)
    if meta["format"] != FIRST_FORMAT:  # which had a checksum of the arrays only
        hasher.update(json.dumps(meta, sort_keys=True).encode())
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
