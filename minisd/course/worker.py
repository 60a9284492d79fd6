"""The student's process: it runs the student's code, and sends back values, never verdicts.

This file is started by itself (``python -I worker.py``), with nothing but NumPy and the standard
library. The judge (`minisd.course.sandbox`) is in another process. Both speak in frames, on two
pipes: four bytes of length, a JSON head, and the raw bytes of the arrays. There is no pickle in it.

A frame's head has a tree. Its leaves are numbers, strings and None; ``{"a": i}`` is array number i,
``{"h": n}`` an object that stays in the worker (a cache, a generator, an instance).
"""

import importlib
import importlib.machinery
import itertools
import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import IO, Any

import numpy as np

MOST_BYTES = 64 * 2**20
"""Of one frame."""
STUDENT_FILE = "your_file.py"
_LENGTH = struct.Struct(">II")


class Handle:
    """Stands for an object that stays in the worker."""

    def __init__(self, number: int) -> None:
        self.number = number


class Unsent:
    """Stands for a result that cannot be sent: only its type is known."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name


# ---- frames: what both sides use ----


def pack(head: dict[str, Any]) -> bytes:
    """Return a frame. Arrays, tuples, handles and so on may be anywhere in ``head``."""
    arrays: list[np.ndarray] = []
    tree = _encode(head, arrays)
    described = [
        {
            "dtype": a.dtype.str,
            "shape": a.shape,
            "order": _order(a),
            "frozen": not a.flags.writeable,
        }
        for a in arrays
    ]
    text = json.dumps({"tree": tree, "arrays": described}).encode()
    raw = b"".join(a.transpose(_order(a)).tobytes() for a in arrays)
    return _LENGTH.pack(len(text), len(raw)) + text + raw


def unpack(text: bytes, raw: bytes) -> dict[str, Any]:
    """Return what `pack` was given."""
    head = json.loads(text)
    arrays, start = [], 0
    for what in head["arrays"]:
        dtype, shape, order = np.dtype(what["dtype"]), what["shape"], what["order"]
        if dtype.kind not in "biufc" or sorted(order) != list(range(len(shape))):
            raise ValueError(f"an array of {dtype} cannot be sent")
        stored = [shape[axis] for axis in order]
        count = int(np.prod(stored, dtype=np.int64))
        flat = np.frombuffer(raw, dtype, count, start).copy()
        start += flat.nbytes
        array = flat.reshape(stored).transpose(np.argsort(order).tolist())
        array.flags.writeable = not what["frozen"]
        arrays.append(array)
    return _decode(head["tree"], arrays)


def read_length(start: bytes) -> tuple[int, int]:
    """Return the lengths of text and raw bytes; raise if they are too large."""
    lengths = _LENGTH.unpack(start)
    if sum(lengths) > MOST_BYTES:
        raise ValueError(f"a frame of {sum(lengths)} bytes")
    return lengths


def _order(array: np.ndarray) -> list[int]:
    """Return the axes from the slowest to the fastest in memory."""
    return sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis))


def _encode(value: Any, arrays: list[np.ndarray]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is np.ndarray and value.dtype.kind in "biufc":
        arrays.append(value)
        return {"a": len(arrays) - 1}
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        arrays.append(np.asarray(value))
        return {"s": len(arrays) - 1}
    if kind is list:
        return {"l": [_encode(item, arrays) for item in value]}
    if isinstance(value, tuple):
        return {"t": [_encode(item, arrays) for item in value]}
    if kind is dict and all(type(key) is str for key in value):
        return {"d": {key: _encode(item, arrays) for key, item in value.items()}}
    if kind is Handle:
        return {"h": value.number}
    name = value.type_name if kind is Unsent else kind.__name__
    return {"u": name[:50]}


def _decode(tree: Any, arrays: list[np.ndarray]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    match kind:
        case "a":
            return arrays[value]
        case "s":
            return arrays[value][()]
        case "l":
            return [_decode(item, arrays) for item in value]
        case "t":
            return tuple(_decode(item, arrays) for item in value)
        case "d":
            return {key: _decode(item, arrays) for key, item in value.items()}
        case "h":
            return Handle(value)
    return Unsent(str(value))


# ---- the worker ----


class Worker:
    """Loads a student's file into an empty module, and calls what is in it."""

    def __init__(self) -> None:
        self.module = ModuleType("yours")
        self.helpers: dict[str, Any] = {}
        self.kept: dict[int, Any] = {}

    def load(self, source: str, given: str, again: str, helpers: str) -> None:
        """Run the student's file once, from its first line to its last.

        ``given`` stands in the module before; the functions of ``again`` replace the student's
        afterwards. ``helpers`` are functions that calls may have as arguments, or that are called.
        """
        sys.modules["yours"] = self.module
        space = self.module.__dict__
        exec(compile(given, "given.py", "exec"), space)
        exec(compile(source, STUDENT_FILE, "exec"), space)
        exec(compile(again, "given.py", "exec"), space)
        exec(compile(helpers, "helpers.py", "exec"), self.helpers)

    def call(self, name: str, args: Any, kwargs: Any, keep: str) -> Any:
        """Call a function, ".method" or "@helper"; return result and which arguments changed."""
        arguments = [self._resolved(value) for value in args]
        named = {key: self._resolved(value) for key, value in kwargs.items()}
        function = self._function(name, arguments)
        before = [a.tobytes() for a in _arrays([args, kwargs])]  # not what a handle stands for
        result = function(*arguments, **named)
        inputs = list(_arrays([args, kwargs]))  # a dict may have got others
        pairs = itertools.zip_longest(before, (a.tobytes() for a in inputs))
        changed = [i for i, (old, new) in enumerate(pairs) if old != new]
        return {"value": self._kept(result, keep), "changed": changed, "inputs": inputs}

    def count(self, name: str, args: Any, kwargs: Any) -> int:
        """Return the number of lines that a call executes in the student's file.

        Each turn of a loop is a line more, also where the loop is written in one line.
        """
        arguments = [self._resolved(value) for value in args]
        named = {key: self._resolved(value) for key, value in kwargs.items()}
        function = self._function(name, arguments)
        executed = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal executed
            if frame.f_code.co_filename != STUDENT_FILE:
                return None
            executed += event == "line"  # "opcode" misses the first call from Python 3.12 on
            return trace

        _settrace(trace)
        try:
            function(*arguments, **named)
        finally:
            _settrace(None)
        return executed

    def rng(self, seed: int) -> Handle:
        """Make a generator, which stays here."""
        return self._keep(np.random.default_rng(seed))

    def state(self, handle: Handle) -> str:
        """Return the state of a generator."""
        return json.dumps(self._resolved(handle).bit_generator.state)

    def get(self, handle: Handle, name: str) -> Any:
        """Return an attribute of an object that is kept here."""
        return getattr(self._resolved(handle), name)

    def set(self, handle: Handle, name: str, value: Any) -> None:
        """Set an attribute of an object that is kept here."""
        setattr(self._resolved(handle), name, self._resolved(value))

    def _function(self, name: str, arguments: list[Any]) -> Any:
        if name.startswith("."):
            return getattr(arguments.pop(0), name[1:])
        if name.startswith("@"):
            return self.helpers[name[1:]]
        if name not in self.module.__dict__:
            raise NotImplementedError(f"there is no {name}")
        return self.module.__dict__[name]

    def _resolved(self, value: Any) -> Any:
        if type(value) is Handle:
            return self.kept[value.number]
        if type(value) is dict and set(value) == {"helper"}:
            return self.helpers[value["helper"]]
        return value

    def _kept(self, result: Any, keep: str) -> Any:
        """Replace by handles: nothing (""), all but the first of a tuple ("cache"), or "all"."""
        if keep == "all":
            return self._keep(result)
        if keep == "cache" and isinstance(result, tuple) and len(result) == 2:
            return result[0], self._keep(result[1])
        return result

    def _keep(self, value: Any) -> Handle:
        self.kept[len(self.kept)] = value
        return Handle(len(self.kept) - 1)


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """Yield the arrays in a value, in lists, tuples and dicts, too."""
    if type(value) is np.ndarray:
        yield value
    elif type(value) in (list, tuple, dict):
        for item in value.values() if type(value) is dict else value:
            yield from _arrays(item)


def serve(incoming: IO[bytes], outgoing: IO[bytes], isolated: bool = False) -> None:
    """Answer frames until the judge closes the pipe."""
    worker = Worker()
    while len(start := incoming.read(8)) == 8:
        text, raw = read_length(start)
        request = unpack(incoming.read(text), incoming.read(raw))
        if request["do"] == "confine":
            answer = {"ok": ["processes"] * isolated + confine(**request["with"])}
        else:
            answer = answer_of(worker, request)
        try:
            frame = pack(answer)
            read_length(frame[:8])
        except (ValueError, RecursionError, MemoryError):
            frame = pack({"error": "TooLarge", "line": None})
        outgoing.write(frame)
        outgoing.flush()


def answer_of(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for, and return the result or the error."""
    started = _clock()
    try:
        value = getattr(worker, request["do"])(**request["with"])
    except BaseException as error:  # whatever the student's code raises, SystemExit too
        return {"error": type(error).__name__[:50], "line": _line(error)}
    return {"ok": value, "seconds": _clock() - started}


def _line(error: BaseException) -> int | None:
    """Return the last line of the student's file that an exception went through."""
    if isinstance(error, SyntaxError) and error.filename == STUDENT_FILE:
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == STUDENT_FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


_settrace, _clock = sys.settrace, time.perf_counter  # before the student's code can replace them


# ---- limits, which the process puts on itself before it loads the student's code ----


def confine(limits: dict[str, Any]) -> list[str]:
    """Give up what student code does not need; return the names of what is given up."""
    done = []
    for step in (_hide_modules, _limit_resources, _landlock):
        try:
            done += step(limits)
        except (OSError, ImportError, ValueError, AttributeError):
            continue  # this system has none; the judge knows from what is returned
    return done


def _hide_modules(limits: dict[str, Any]) -> list[str]:
    """Leave the standard library, all of NumPy, and what the task stages."""
    for name in ("fft", "lib.stride_tricks", "linalg", "ma", "polynomial", "random", "testing"):
        importlib.import_module(f"numpy.{name}")
    library = os.path.dirname(os.__file__)
    sys.path[:] = [*limits["staged"], library, os.path.join(library, "lib-dynload")]
    finders = ("BuiltinImporter", "FrozenImporter", "PathFinder")
    sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") in finders]
    sys.path_importer_cache.clear()
    if not limits["staged"]:
        sys.modules["minisd"] = None  # type: ignore[assignment]
    assert importlib.machinery.PathFinder in sys.meta_path
    return ["modules"]


def _limit_resources(limits: dict[str, Any]) -> list[str]:
    import resource

    for name, value in limits["resources"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    return ["limits"]


def _landlock(limits: dict[str, Any]) -> list[str]:
    """Allow reading of the libraries, writing in the working folder, and no network (Linux)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(444, None, 0, 1)
    if abi < 1:
        return []
    read, everything = 0b1100, (1 << {1: 13, 2: 14}.get(abi, 15)) - 1
    if abi >= 5:
        everything |= 1 << 15  # ioctl on devices
    network, scope = (0b11 if abi >= 4 else 0), (0b11 if abi >= 6 else 0)
    attributes = struct.pack("=QQQ", everything, network, scope)
    size = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(abi, 24)
    ruleset = libc.syscall(444, attributes, size, 0)
    folders = [(path, read | 1) for path in limits["readable"]]
    for path, access in [*folders, (os.getcwd(), everything)]:
        if os.path.exists(path):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", access, descriptor)
            libc.syscall(445, ruleset, 1, rule, 0)
            os.close(descriptor)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    failed = libc.syscall(446, ruleset, 0)
    os.close(ruleset)
    return [] if failed else ["files", *(["network"] if network else [])]


def unshare() -> bool:
    """Go on in namespaces of one's own (Linux): what is started here ends when this process ends.

    Returns whether that was possible. The process that was started waits, and ends with its child.
    """
    import ctypes
    import signal

    libc = ctypes.CDLL(None, use_errno=True)
    user, pid, network, ipc = 0x10000000, 0x20000000, 0x40000000, 0x08000000
    if libc.unshare(user | pid | network | ipc):
        return False
    child = os.fork()
    if child:
        os.closerange(3, 64)  # the pipes are the child's: their end says that it has ended
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # when the waiting process is killed
    return True


def main() -> None:
    """Serve on the pipes whose numbers are given; output of the student's code goes to a file."""
    try:
        isolated = unshare()
    except (OSError, AttributeError):
        isolated = False
    read, write = map(int, sys.argv[1:3])
    with os.fdopen(read, "rb") as incoming, os.fdopen(write, "wb") as outgoing:
        serve(incoming, outgoing, isolated)


if __name__ == "__main__":
    main()
