"""A server on this machine in place of the data sets' own, and the archives it serves."""

import contextlib
import gc
import hashlib
import io
import os
import socket
import tarfile
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from minisd.data.download import Remote, Source, get
from minisd.errors import DataError

PATIENCE = 20  # seconds after which a test gives up waiting
MEMBERS = {"a.bin": bytes(range(256)) * 800, "b.bin": b"b" * 1000}
SIZES = {name: len(content) for name, content in MEMBERS.items()}
DATA_FILES = {f"data/toy/{name}": content for name, content in MEMBERS.items()}
SUMS = "".join(f"{hashlib.md5(content).hexdigest()}  {name}\n" for name, content in MEMBERS.items())
UNPACKED = DATA_FILES | {"data/toy/official.md5": SUMS.encode()}

# The server


@dataclass
class Server:
    """What is served, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)  # answered with half of the body
    held: set[str] = field(default_factory=set)  # answered with half, then the rest on release
    asked: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def source(self, name: str, content: bytes, members: dict[str, int] | None = None) -> Source:
        """Serve ``content``, and return the source that describes it."""
        self.files[f"/{name}"] = content
        remote = Remote(f"{self.url}/{name}", md5(content), SIZES if members is None else members)
        return Source("toy", (remote,))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        half = len(content) // 2
        handler.wfile.write(content[:half])
        handler.wfile.flush()
        self.asked.set()
        if handler.path in self.held:
            self.release.wait(PATIENCE)
        if handler.path not in self.cut:
            handler.wfile.write(content[half:])


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self):
            with contextlib.suppress(ConnectionError):  # the other side was killed
                state.answer(self)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            state.release.set()
            http.shutdown()
            thread.join(PATIENCE)


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    """Refuse to look up any other address, and go through no proxy."""
    look_up = socket.getaddrinfo

    def guarded(host, *arguments, **options):
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"the tests must not contact {host}")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")


@pytest.fixture(autouse=True, scope="module")
def no_garbage_for_other_tests() -> Iterator[None]:
    """Collect those connections here, where the warning is ignored."""
    yield
    gc.collect()


# Archives and folders


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Entry(NamedTuple):
    """A member of an archive."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""


GOOD = [Entry(f"toy/{name}", content) for name, content in MEMBERS.items()]
A, B = GOOD


def tar(entries: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            about = tarfile.TarInfo(entry.name)
            about.type, about.linkname, about.size = entry.kind, entry.link, len(entry.content)
            archive.addfile(about, io.BytesIO(entry.content))
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()


def archive(entries: list[Entry]) -> bytes:
    return gzipped(tar(entries))


def broken_halfway(content: bytes) -> bytes:
    """What begins as gzip and, within the first member, goes on as nothing that can be unpacked."""
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(content[:100_000]) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + b"\xff" * 1000


def files(folder: Path) -> dict[str, bytes]:
    """All files under a folder, by their paths in it; of links, where they lead."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path).encode()
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def folders(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_dir()}


def refused(source: Source, data_dir: Path, **options) -> str:
    """The message with which fetching fails; it is one line."""
    with pytest.raises(DataError) as caught:
        get(source, data_dir, quiet=True, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
