"""The benchmarks' peers: who is missing is named, and nobody is timed who computes something else.

Most of it is tested with contestants that are made up. Each library that is installed must come to
our losses: `python -m pytest -m slow tests/tools/test_peers.py`.
"""

import json
import math
import shutil
import sys
from dataclasses import asdict, replace

import pytest

from benchmarks import our_step, readme, rows_peers, turns
from benchmarks.bench import QUICK, Bench
from benchmarks.network import Task, Weights
from benchmarks.peer import LIBRARIES
from benchmarks.peers import INSTALL, OURS, PEERS, Peer
from benchmarks.report import Report
from benchmarks.turns import Process

MADE_UP = """
import json, sys, time
from tests.benchmarks.turns import serve

kind = json.loads(sys.argv[1])["library"]
if kind == "unable":
    sys.exit("it needs a compiler")
losses = iter({"second": [2, 1.9]}.get(kind, [2, 2 if kind == "late" else 1.5]) + [1] * 9)

def step(number):
    if kind == "talks":
        print("not an answer")
    if kind == "dies":
        sys.exit("out of memory")
    return float("nan") if kind == "nan" else next(losses)

serve(step, "one thread")
while kind == "stays":
    time.sleep(1)
"""
LAUNCHER = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
NOBODY = "a_library_that_nobody_has"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    (tmp_path / "made_up.py").write_text(MADE_UP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(INSTALL, NOBODY, "pip install nothing")
    monkeypatch.setattr("benchmarks.measure.PAUSE", 0)
    return Bench(QUICK, 0, 1, 1, Report(tmp_path, {"quick": False}))


@pytest.fixture
def started(monkeypatch):
    """All processes that a row starts."""
    found = []

    class Noted(Process):
        def __init__(self, *arguments):
            found.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(rows_peers, "Process", Noted)
    return found


def made_up(kind, *, library="Other", package="json", **options):
    return Peer(library, package, {"library": kind}, ("20",), "made_up", **options)


def rows(bench, *peers):
    return list(rows_peers.steps(bench, "20", 8, ours=made_up("ours", library="ours"), peers=peers))


def test_a_peer_that_is_not_installed_is_named_and_the_others_are_measured(bench, started):
    missing, measured = rows(
        bench, made_up("same", library="Nobody", package=NOBODY), made_up("talks")
    )
    assert missing.missing == f"{NOBODY} is not installed: pip install nothing"
    assert missing.value is None
    assert f"not measured: {NOBODY} is not installed: pip" in bench.report.line(missing)
    assert measured.name == "peers-20-other"
    assert measured.value > 0
    assert "one thread" in measured.peer
    assert [process.name for process in started] == ["ours", "Other"]


@pytest.mark.parametrize(("kind", "off"), [("second", "0.27"), ("late", "0.33"), ("nan", "nan")])
def test_losses_that_differ_in_any_of_the_steps_stop_it(bench, started, kind, off):
    with pytest.raises(ValueError, match=rf"Other computes something else: .* {off}"):
        rows(bench, made_up(kind))
    assert bench.report.measurements == {}
    assert [process._process.poll() for process in started] == [0, 0]


def test_a_peer_that_cannot_start_costs_its_row_only(bench):
    unable, measured = rows(bench, made_up("unable", library="Unable"), made_up("same"))
    assert unable.missing == "Unable failed: it needs a compiler"
    assert measured.value > 0


def test_a_peer_that_ends_in_a_step_says_why(bench):
    with pytest.raises(turns.Failed, match="Other failed: out of memory"):
        rows(bench, made_up("dies"))


def test_the_faster_form_of_a_library_is_compared(bench, monkeypatch):
    monkeypatch.setattr(
        bench, "measure",
        lambda *_, **__: {"ours": [2.0, 3.0], "Other a": [4.0, 5.0], "Other b": [1.0, 9.0]},
    )  # fmt: skip
    monkeypatch.setattr(Process, "facts", lambda _: {"held": "", "cores": 1, "warm_up": 2})
    (row,) = rows(bench, made_up("same", form="a"), made_up("same", form="b"))
    assert row.value == 2
    assert row.medians == 0.5
    assert row.details["best"]["name"] == "Other b"


def test_a_launcher_stands_before_the_process(bench):
    """As ``mpiexec -n 2`` does: requests and answers pass through it."""
    there = made_up("same", launcher=(sys.executable, "-c", LAUNCHER))
    gone = made_up("same", library="Gone", launcher=("no-such-launcher",))
    missing, row = rows(bench, gone, there)
    assert row.value > 0
    assert missing.missing.startswith("Gone failed: no-such-launcher does not start: ")


def test_a_process_that_stays_is_killed(bench, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    with Process("Other", made_up("stays").command(Task("", 8, 8, 1))) as process:
        assert process(0) == (2, 1.5, 1)
        assert process(1) == (1,)
    assert process._process.returncode < 0


def test_the_table_has_the_peers_that_were_measured(bench):
    found = rows(bench, made_up("same", library="Nobody", package=NOBODY), made_up("talks"))
    header, _, line = readme.table_of_peers(
        [asdict(row) for row in found], {"json": "9.8"}, "step", "ours"
    )
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == len(header.strip("|").split("|"))
    assert cells[0] == "ResNet-8, batch 8, constant depth; Other 9.8"
    assert float(cells[3]) == pytest.approx(found[1].value, rel=0.01)
    measured = json.loads(readme.MEASURED.read_text())
    measured["rows"] += [asdict(row) for row in found]
    measured["versions"]["json"] = "9.8"
    assert readme.tables_of_peers(measured).endswith(f"{line}\n")
    measured["rows"].pop()
    assert NOBODY not in readme.tables_of_peers(measured), (
        "no table of those that were not measured"
    )


# ---- the libraries themselves ----

STRONG = Task("minisd", 8, 8, 1, lr=0.05, weight_decay=0.5)
"""Steps in which each of the rule's numbers changes the third loss."""


def our_losses(task):
    step = our_step.training(task)
    return [step(0) for _ in range(turns.CHECKED_STEPS)]


@pytest.mark.parametrize("wrong", [{"lr": 0.06}, {"momentum": 0.8}, {"weight_decay": 0.4}])
def test_losses_would_show_a_wrong_number_in_the_rule(wrong):
    right, other = our_losses(STRONG)[2], our_losses(replace(STRONG, **wrong))[2]
    assert abs(other - right) > 10 * rows_peers.SAME_LOSSES * right


def test_weights_are_in_the_order_of_their_use():
    weights = Weights(Task("minisd", 14, 8, 1).model())
    assert weights.blocks == [(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]
    assert [w.shape[:2] for w, _, _ in weights.layers[:2]] == [(16, 3), (16, 16)]
    assert [w.shape[:2] for w, _, _ in weights.layers[5:7]] == [(32, 16), (32, 32)]
    assert [a.shape for a in weights.head] == [(10, 64), (10,)]


def test_every_peer_has_a_library_and_a_way_to_have_it():
    for peer in (OURS, *PEERS):
        assert peer.options["library"] in LIBRARIES
        assert peer is OURS or peer.package in INSTALL


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_library_comes_to_our_losses(bench, peer):
    if not bench.has(peer.package):
        pytest.skip(f"{peer.package} is not installed: {INSTALL[peer.package]}")
    if peer.package == "tinygrad" and not shutil.which("clang"):
        pytest.skip("tinygrad compiles with clang, which is not installed")
    with Process(peer.name, peer.command(STRONG)) as process:
        theirs = process(0)
    assert theirs == pytest.approx(our_losses(STRONG), rel=rows_peers.SAME_LOSSES)


@pytest.mark.slow
@pytest.mark.parametrize("peer", [p for p in PEERS if "56-open" in p.rows], ids=lambda p: p.name)
def test_a_library_with_closed_blocks_comes_to_our_losses(bench, peer):
    if not bench.has(peer.package):
        pytest.skip(f"{peer.package} is not installed: {INSTALL[peer.package]}")
    task = replace(STRONG, weight_decay=0.0, patterns=[[True, False, True]])
    with Process(peer.name, peer.command(task)) as process:
        theirs = process(0)
    assert theirs == pytest.approx(our_losses(task), rel=rows_peers.SAME_LOSSES)
    assert not math.isclose(theirs[0], our_losses(STRONG)[0], rel_tol=0.01)
