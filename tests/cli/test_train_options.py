"""``minisd train`` with settings, rules, weights and seeds of one's own, and longer runs."""

import json
import shutil
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock

import minisd
from minisd.cli import main
from minisd.cli.survival_option import chosen_survival
from minisd.errors import ConfigError
from minisd.experiments.pool import epochs_done
from minisd.rules import RULES
from minisd.runs.config import NAMED_RULES, resolve
from minisd.runs.session import resume, train
from systems import posix_only
from tiny_runs import command, contents, is_one_sentence, options, outcome, state, tiny

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = {"depth": 8, "width": 2, "epochs": 1, "threads": 1}
RULE = """
SHARE = 0.1

def share(block):
    return 1 - SHARE * block

def rule(L):
    return [share(block) for block in range(L)]

def of_both(L, p_last):
    return [p_last] * L

def too_much(L):
    return [2.0] * L

def too_few(L):
    return [0.5]
"""


@pytest.fixture
def rules(tmp_path):
    """A file of a user's own, with rules."""
    path = tmp_path / "my_rules.py"
    path.write_text(RULE)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a complete run of two epochs."""
    folder = tmp_path_factory.mktemp("options") / "run"
    train(tiny(limit=40, epochs=2), folder)
    return folder


def trains(folder, *more, **changes):
    """Train into a folder by the command; return its settings."""
    arguments = [str(argument) for argument in more]
    small = options(**{"epochs": 1, "limit": 40, **changes})
    assert main(["train", "--quiet", "--out", str(folder), *small, *arguments]) == 0
    return json.loads((folder / "config.json").read_text())


def refused(capsys, *arguments):
    """Return the sentence with which the command refuses."""
    capsys.readouterr()
    assert main(["train", "--quiet", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said), said
    return said


# ---- --survival ----


def test_survival_of_every_kind_is_saved_as_probabilities(tmp_path, rules):
    for number, (text, survival, probs) in enumerate(
        (
            ("0.9,0.8,0.7", [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]),
            ("cosine", "cosine", RULES["cosine"](3, 0.8)),
            (f"{rules}:rule", [1.0, 0.9, 0.8], [1.0, 0.9, 0.8]),
            (f"{rules}:of_both", [0.8] * 3, [0.8] * 3),
        )
    ):
        saved = trains(tmp_path / str(number), "--survival", text)
        assert saved["survival"] == survival
        assert saved["resolved"]["survival_probs"] == probs
        assert saved.get("origin", {}).get("survival") == (text if ".py" in text else None)
        assert minisd.load_model(tmp_path / str(number)).survival_probs == probs


def test_the_file_of_a_rule_is_executed_for_a_new_run_and_never_again(tmp_path, rules, capsys):
    folder = tmp_path / "run"
    trains(folder, "--survival", f"{rules}:rule")
    rules.write_text("raise SystemExit('this must not be executed')")
    assert main(["evaluate", str(folder)]) == 0
    resume(folder, {"epochs": 2})
    minisd.load_model(folder)
    # nor by a folder that says so itself
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "survival": f"{rules}:rule"}))
    for line in (["--resume", folder], ["--config", folder, "--out", tmp_path / "b"]):
        assert "unknown survival rule" in refused(capsys, *line)
    assert json.loads((folder / "config.json").read_text())["origin"]["survival"].endswith(":rule")


def test_the_file_of_a_rule_may_import_another_beside_it(tmp_path, monkeypatch):
    (tmp_path / "beside_my_rules.py").write_text(RULE)
    (tmp_path / "my_rules.py").write_text("from beside_my_rules import rule")
    monkeypatch.setattr(sys, "path", search := [*sys.path])
    rule, _ = chosen_survival(f"{tmp_path}/my_rules.py:rule")
    assert rule(3) == [1.0, 0.9, 0.8]
    assert sys.path == search
    assert str(tmp_path) not in search
    monkeypatch.setenv("HOME", str(tmp_path))
    assert chosen_survival("~/my_rules.py:rule")[0](3) == [1.0, 0.9, 0.8]


def test_what_is_no_survival_is_a_sentence(tmp_path, rules, capsys):
    for text, says in (
        ("0.9,0.8", "3 blocks need as many survival probabilities"),
        ("0.9,much,0.7", "'much' is not a number"),
        ("0.9,0.8,1.7", "must lie in [0, 1], got 1.7 for block 3"),
        (f"{rules}:nothing", "has no function 'nothing'; it has share, rule, of_both"),
        (f"{rules}:SHARE", "has no function 'SHARE'"),
        (f"{rules}:too_much", "the survival rule too_much must give 3 probabilities"),
        (f"{rules}:too_few", "the survival rule too_few must give 3 probabilities"),
        (f"{tmp_path}/none.py:rule", "there is no"),
        (f"{tmp_path}/fails.py:rule", "fails when it is executed (ZeroDivisionError: division"),
    ):
        (tmp_path / "fails.py").write_text("1 / 0")
        assert says in refused(capsys, *options(), "--survival", text, "--out", tmp_path / "run")
    with pytest.raises(SystemExit):
        main(["train", "--survival", "cosin"])
    assert "unknown --survival 'cosin'; did you mean 'cosine'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rules_by_name_and_function_in_settings(monkeypatch):
    assert set(NAMED_RULES) == set(RULES)
    assert resolve({"depth": 8, "survival": lambda L: [0.5] * L}).survival == (0.5, 0.5, 0.5)
    monkeypatch.setitem(RULES, "mine", lambda L, p_last: [p_last] * L)
    config = resolve({"depth": 8, "survival": "mine", "p_last": 0.3})
    assert config.survival == (0.3, 0.3, 0.3)  # who reads the run does not have the rule
    with pytest.raises(ConfigError, match="must give 3 probabilities"):
        resolve({"depth": 8, "survival": lambda L: []})
    for wrong in (5, [[1]], {"a": 1}, ["a", 1, 1], True):
        with pytest.raises(ConfigError):
            resolve({"depth": 8, "survival": wrong})


# ---- --config ----


def test_a_runs_own_settings_make_the_same_run(trained, tmp_path):
    line = ["train", "--quiet", "--config", str(trained / "config.json"), "--out"]
    assert main([*line, str(tmp_path / "a")]) == 0
    assert outcome(tmp_path / "a") == outcome(trained)
    other = json.loads((trained / "config.json").read_text())
    assert main([*line, str(tmp_path / "b"), "--lr", "0.2", "--survival", "constant"]) == 0
    saved = json.loads((tmp_path / "b" / "config.json").read_text())
    same = set(other) - {"lr", "survival", "resolved", "versions"}
    assert {name: saved[name] for name in same} == {name: other[name] for name in same}
    assert (saved["lr"], saved["survival"]) == (0.2, "constant")


def test_a_file_of_a_few_settings_and_files_that_are_none(trained, tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"lr": 0.03, "survival": [0.9, 0.8, 0.7], "drops": [1]}))
    saved = trains(tmp_path / "run", "--config", path)
    assert (saved["lr"], saved["survival"]) == (0.1, [0.9, 0.8, 0.7])  # options override
    assert saved["drops"] == [1]
    out = ("--out", tmp_path / "new")
    for content, says in (
        ('{"depht": 8}', "unknown setting 'depht'; did you mean 'depth'?"),
        ('{"depth": "8"}', "depth cannot be '8'"),
        ('{"depth": 14, "survival": [0.9, 0.8, 0.7]}', "6 blocks need as many"),
        ("{", "is damaged, or is not"),
        ("[]", "it is not a JSON object"),
        ('{"made_by": "minisd.fit"}', "run that program again"),
    ):
        path.write_text(content)
        said = refused(capsys, "--config", path, *out)
        assert says in said
        assert str(path) in said
    path.write_text("{}")
    assert "leave out --preset" in refused(capsys, "--config", path, "--preset", "digits", *out)
    assert "--config" in refused(capsys, "--config", path, "--resume", trained)
    assert not (tmp_path / "new").exists()


# ---- --resume --epochs ----


def test_a_finished_run_goes_on_longer_and_says_what_the_schedule_does(trained, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert main(["train", "--resume", str(folder), "--epochs", "4"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    remark = (
        "2 epochs become 4, after 6 steps; the schedule is now that of 4 epochs: the rate goes "
        "from 0.01 to 0.01 here"
    )
    assert remark in said
    saved = json.loads((folder / "config.json").read_text())
    assert saved["epochs"] == 4
    (change,) = saved["origin"]["lengths"]
    assert change["remark"] == remark
    rates = [row["lr"] for row in state(folder / "checkpoint.npz")["position"]["history"]]
    assert rates == pytest.approx([0.1, 0.01, 0.01, 0.001])
    before = contents(folder)
    assert "cannot end after 3 epochs: 4 epochs are done" in refused(
        capsys, "--resume", folder, "--epochs", "3"
    )
    assert contents(folder) == before


@pytest.mark.parametrize("schedule", [pytest.param("step", marks=pytest.mark.slow), "cosine"])
def test_a_longer_run_that_is_killed_goes_on_bit_for_bit(tmp_path, monkeypatch, schedule):
    """Killed before its first checkpoint: config.json has the new length, the checkpoint not."""
    for name in ("whole", "killed"):
        train(tiny(limit=40, epochs=1, schedule=schedule, optimizer="adam"), tmp_path / name)
    resume(tmp_path / "whole", {"epochs": 3})

    def killed(run, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("minisd.runs.snapshot.save", killed)
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "killed", {"epochs": 3})
    assert resume(tmp_path / "killed").position.epoch == 4
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    (change,) = json.loads((tmp_path / "killed" / "config.json").read_text())["origin"]["lengths"]
    assert (change["from"], change["to"]) == (1, 3)


# ---- --optimizer and --schedule ----


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"optimizer": "adam", "schedule": "cosine"}, [0.0061, 0.0001]),
        pytest.param(
            {"optimizer": "adamw", "schedule": "one-cycle"},
            [0.0093, 0.0003],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_optimisers_and_schedules_by_name(tmp_path, changes, rates):
    saved = trains(tmp_path, **changes, epochs=2, limit=120, lr=0.01)
    assert {name: saved[name] for name in changes} == changes
    history = state(tmp_path / "checkpoint.npz")["position"]["history"]
    assert [row["lr"] for row in history] == pytest.approx(rates, abs=0.0003)
    again = resume(tmp_path, {"epochs": 3})
    assert again.is_complete


def test_one_cycle_has_no_warm_up():
    with pytest.raises(ConfigError, match="rise of its own"):
        resolve({"schedule": "one-cycle", "warmup_epochs": 2})


# ---- --init ----


IDLE = {
    "with --optimizer adam": ["--optimizer", "adam", "--momentum", "0.5"],
    "with --schedule cosine": ["--schedule", "cosine", "--drops", "1", "2"],
    "with --schedule one-cycle": ["--schedule", "one-cycle", "--warmup-lr", "0.02"],
    "without --warmup-epochs": ["--warmup-lr", "0.02"],
    "with --survival constant": ["--survival", "constant", "--p-last", "0.3"],
}


@pytest.mark.parametrize("why", IDLE)
def test_an_option_without_an_effect_is_refused(tmp_path, capsys, why):
    line = ["train", *options(epochs=1), "--out", str(tmp_path / "run"), *IDLE[why]]
    name = line[-3] if "--drops" in line else line[-2]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert f"{name} has no effect {why}: leave it out" in said
    assert not (tmp_path / "run").exists()


def test_an_idle_option_may_have_its_usual_value_or_come_from_a_file(tmp_path):
    """Lines that list all settings of a run, and its own ``config.json``, have such options."""
    first, second = tmp_path / "a", tmp_path / "b"
    line = ["train", "--quiet", *options(epochs=1), "--optimizer", "adam", "--momentum", "0.9"]
    line += ["--schedule", "cosine", "--drops", "0.5", "0.75"]
    assert main([*line, "--out", str(first)]) == 0
    (first / "config.json").write_text(
        (first / "config.json").read_text().replace('"momentum": 0.9', '"momentum": 0.5')
    )
    assert main(["train", "--quiet", "--config", str(first), "--out", str(second)]) == 0
    assert contents(second)


def test_init_by_the_command(trained, tmp_path, capsys):
    saved = trains(tmp_path / "b", "--init", trained)
    assert saved["origin"]["init"]["run"] == str(trained)
    said = refused(capsys, *options(), "--init", tmp_path, "--out", tmp_path / "c")
    assert "not a run folder" in said


def test_the_run_of_init_is_found_from_any_folder(trained, tmp_path, monkeypatch):
    """Here by a run that was killed before its first checkpoint."""

    def interrupted(run, path):
        raise KeyboardInterrupt

    monkeypatch.chdir(trained.parent)
    with monkeypatch.context() as patched:
        patched.setattr("minisd.runs.snapshot.save", interrupted)
        line = ["train", "--quiet", *options(epochs=1), "--init", trained.name]
        assert main([*line, "--out", str(tmp_path / "run")]) == 130
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--quiet", "--resume", "run"]) == 0


# ---- --seeds ----


def test_seeds_have_a_run_each_and_mean_and_spread(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minisd.experiments.pool._POLL_INTERVAL", 0.02)
    single = options(epochs=1, limit=40)
    single = [option for option in single if not option.startswith("--seed")]
    line = ["train", *single, "--seeds", "1", "2", "--out", str(tmp_path / "runs")]
    train(tiny(limit=40, epochs=1, seed=1), tmp_path / "runs" / "seed-1")  # is there already
    assert main(line) == 0
    said = capsys.readouterr().out
    train(tiny(limit=40, epochs=1, seed=2), tmp_path / "two")
    assert bits_of(tmp_path / "runs" / "seed-2") == bits_of(tmp_path / "two")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"seed-1", "seed-2"}
    errors = [
        state(tmp_path / "runs" / name / "checkpoint.npz")["position"]["best"]["test_error"]
        for name in ("seed-1", "seed-2")
    ]
    mean, spread = statistics.fmean(errors), statistics.stdev(errors)
    assert f"{mean:.2%} on average (standard deviation {spread:.2%}, n = 2)" in said
    before = contents(tmp_path / "runs")
    assert main(line) == 0  # the same command again trains nothing
    assert contents(tmp_path / "runs") == before
    assert "is a run with lr 0.1, but 0.2 is wanted here" in refused(
        capsys, *line[1:], "--lr", "0.2"
    )


def bits_of(folder):
    return state(folder / "checkpoint.npz")["arrays"]


def test_wrong_seeds_are_a_sentence(trained, tmp_path, capsys):
    assert "no number twice" in refused(capsys, "--seeds", "1", "1")
    assert "leave out --seed" in refused(capsys, "--seeds", "1", "--seed", "2")
    assert "leave out --seed" in refused(capsys, "--seeds", "1", "--resume", trained)
    said = refused(capsys, "--seeds", "1", "--out", trained)
    assert "is the folder of a single run" in said


def test_seeds_go_on_longer(tmp_path, monkeypatch):
    def train_all(folders, **_):
        for folder, config in folders.items():
            resume(folder, {"epochs": config.epochs})
        return {}

    monkeypatch.setattr("minisd.cli.seeds.train_all", train_all)
    train(tiny(limit=40, epochs=1, seed=1), tmp_path / "seed-1")
    longer = [each for each in options(limit=40, epochs=2) if not each.startswith("--seed")]
    assert main(["train", "--quiet", *longer, "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert state(tmp_path / "seed-1" / "checkpoint.npz")["position"]["epoch"] == 3


def test_seeds_that_all_fail_leave_no_others(tmp_path, capsys, monkeypatch):
    failures = {tmp_path / "seed-1": "no memory", tmp_path / "seed-2": "no memory"}
    monkeypatch.setattr("minisd.cli.seeds.train_all", lambda *_, **__: failures)
    said = refused(capsys, "--seeds", "1", "2", "--out", tmp_path)
    assert said.startswith("minisd: 2 of 2 runs failed (seed-1: no memory; seed-2: no memory); the")
    assert "others" not in said


def test_a_folder_of_seeds_has_the_name_that_one_run_would_have(tmp_path, capsys, monkeypatch):
    def train_all(folders, **_):
        for folder, config in folders.items():
            train(config, folder)
        return {}

    monkeypatch.setattr("minisd.cli.seeds.train_all", train_all)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), np.uint8)
    np.savez("mine.npz", images=images, labels=np.arange(60) % 3)
    own = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["train", "--quiet", "--data", "mine.npz", "--seeds", "1", *own]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine-1"]


@posix_only
@pytest.mark.slow
def test_seeds_that_are_stopped_go_on_to_the_same_end(tmp_path):
    out, settings = tmp_path / "out", {"epochs": 60, "limit": 100}
    single = [each for each in options(**settings) if not each.startswith("--seed")]
    line = command("train", "--quiet", *single, "--seeds", 1, 2, "--out", out)
    folders = [out / "seed-1", out / "seed-2"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as stopped:
        while not all(map(epochs_done, folders)):
            assert stopped.poll() is None
            time.sleep(0.01)
        stopped.send_signal(signal.SIGINT)
        _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert said == f"\nSIGINT: saved. Go on with the same command and --out {out}\n"
    done = [epochs_done(folder) for folder in folders]
    assert min(done) < 60
    for folder in folders:
        FileLock(folder / ".lock").acquire(timeout=60).lock.release()  # no process is left
        assert state(folder / "checkpoint.npz")["position"]["epoch"] > 1
    assert subprocess.run(line, timeout=60).returncode == 0
    for seed, folder in enumerate(folders, start=1):
        train(tiny(**settings, seed=seed), tmp_path / "whole" / folder.name)
        ours, whole = outcome(folder), outcome(tmp_path / "whole" / folder.name)
        del ours["config"]["threads"], whole["config"]["threads"]
        assert ours == whole


@pytest.mark.slow
def test_a_seed_that_fails_is_named_and_the_others_are_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minisd.experiments.pool._POLL_INTERVAL", 0.02)
    train(tiny(limit=40, epochs=1, seed=1), tmp_path / "runs" / "seed-1")
    train(tiny(limit=40, epochs=1, seed=2), tmp_path / "runs" / "seed-2")
    path = tmp_path / "runs" / "seed-2" / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / "runs" / "seed-2" / "log.jsonl").write_text("")
    single = [option for option in options(epochs=1, limit=40) if not option.startswith("--seed")]
    said = refused(capsys, *single, "--seeds", "1", "2", "--out", tmp_path / "runs")
    assert "1 of 2 runs failed (seed-2: " in said
    assert "; the others are complete; the same command with --out" in said
    assert "not a whole checkpoint" in said
