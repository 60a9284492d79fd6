"""What all experiments need: settings in three sizes, trained runs, results that are remembered.

A study has a folder. Under ``runs/`` in it are training runs, shared by all experiments of the
study that want the same ones; ``NAME.jsonl`` remembers what an experiment has computed so far. So
the same command goes on where it stopped, whatever stopped it.
"""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from minisd import data
from minisd.errors import ConfigError, RunFolderError, UserError
from minisd.experiments.pool import same_run, train_all
from minisd.experiments.trained import Key, TrainedRun
from minisd.files import append_durably, whole_lines, write_atomically
from minisd.machine import available_cores
from minisd.runs import folder as runfolder
from minisd.runs.config import Config, resolve
from minisd.runs.interrupt import StopSignals
from minisd.runs.progress import Counting
from minisd.runs.run import MACHINE_SETTINGS

SIZES: dict[str, dict[str, Any]] = {
    "quick": {"data": "digits", "depth": 14, "epochs": 6, "flow": 5, "seeds": (1,)},
    "digits": {"data": "digits", "depth": 20, "epochs": 32, "flow": 10, "seeds": (1, 2, 3)},
    "laptop": {
        "depth": 20,
        "epochs": 16,
        "batch_size": 64,
        "limit": 5000,
        "flow": 20,
        "seeds": (1,),
    },
    "paper": {"flow": 100, "seeds": (1,)},
}
"""By scale: ``digits`` and ``laptop`` (other data sets) end within ten minutes on two cores,
``quick`` within 30 seconds; ``paper`` has the settings of the paper, and takes days."""

SETTINGS = (
    "data", "data_dir", "depth", "width", "epochs", "batch_size", "lr", "limit", "flow", "device",
)  # fmt: skip
"""Fields of `minisd.runs.config.Config` that a study may set, in place of its size's own."""

Job = tuple[str, float, int, dict[str, Any]]
"""A run: rule, p_L, seed, and other settings than the study's."""


class Study:
    """The settings and the folder of experiments.

    Parameters
    ----------
    out : path
    size : "quick", "laptop" or "paper"
        Laptop: on the digits, or on the first images of another data set.
    processes : int, optional
        Runs that train at the same time. Default: one for each core; on a GPU one.
    quiet : bool
        Say nothing but errors.
    **changes
        ``seeds``, and any of `SETTINGS`.

    Raises
    ------
    ConfigError
        If that is no network, or a setting that a study does not have.
    """

    def __init__(
        self,
        out: Path,
        *,
        size: str = "laptop",
        processes: int | None = None,
        quiet: bool = False,
        **changes: Any,
    ) -> None:
        self.out = out
        self.size = size
        self.quiet = quiet
        self.changes = dict(changes)
        if size not in ("quick", "laptop", "paper"):
            raise ConfigError(f"a study is quick, laptop or paper, not {size!r}")
        for setting in changes:
            if setting not in ("seeds", *SETTINGS):
                raise ConfigError(
                    f"a study has no setting {setting!r}; there are seeds, {', '.join(SETTINGS)}"
                )
        name = changes.get("data", "cifar10" if size == "paper" else "digits")
        if size == "quick" and name != "digits":
            raise ConfigError("--quick is on the digits: leave out --data, or --quick")
        self.scale = "digits" if size == "laptop" and name == "digits" else size
        settings = {"data": name, **SIZES[self.scale], **changes}
        if size == "paper" and name in ("cifar10", "cifar100", "svhn"):
            deepest = name == "cifar10" and settings.get("depth") == 1202
            settings["preset"] = "cifar10-1202" if deepest else name
        self.seeds: tuple[int, ...] = tuple(settings.pop("seeds"))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("--seeds needs different numbers, at least one")
        self.settings = settings
        if processes is not None and processes < 1:
            raise ConfigError(f"the number of processes must be at least 1, got {processes}")
        self.processes = processes
        self.failures: dict[str, str] = {}
        self.stop = StopSignals()
        self.training_images: int | None = None
        for seed in self.seeds:
            self.config("constant", 1.0, seed)  # is it a network at all?

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the study's folder for this process alone, and let signals wait for `stop`."""
        data.load(self.settings["data"], self.settings.get("data_dir", "data"))  # is it there?
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.out / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise RunFolderError(f"another process is working in {self.out}") from None
        except (OSError, NotImplementedError) as error:
            raise RunFolderError(f"{self.out} cannot be written: {error}") from error
        try:
            with self.stop:
                yield
        except OSError as error:
            if isinstance(error, UserError | BrokenPipeError):
                raise
            raise RunFolderError(f"{self.out} cannot be written: {error}") from error
        finally:
            lock.release()

    # ---- training runs ----

    def config(self, rule: str, p_last: float, seed: int, **changes: Any) -> Config:
        """Return the settings of a run; rule "plain" is constant depth without shortcuts."""
        survival = {"plain": "constant"}.get(rule, rule)
        own = {"shortcut": "none"} if rule == "plain" else {}
        return resolve(
            {
                **self.settings,
                "survival": survival,
                "p_last": 1.0 if survival == "constant" else p_last,
                "seed": seed,
                **own,
                **changes,
            }
        )

    def runs(
        self, rules: Iterable[tuple[str, float]], seeds: Sequence[int] = ()
    ) -> list[TrainedRun]:
        """`train` every rule with every seed: the study's own, or those given."""
        return self.train([(*rule, seed, {}) for rule in rules for seed in seeds or self.seeds])

    def train(self, wanted: Iterable[Job]) -> list[TrainedRun]:
        """Train runs, or take what has been trained, and return them.

        One that fails is left out, and told of in the end.

        Raises
        ------
        UserError
            If all failed.
        """
        jobs: dict[Path, Config] = {}
        keys: dict[Path, Key] = {}
        for rule, p_last, seed, changes in wanted:
            config = self.config(rule, p_last, seed, **changes)
            rule_name = rule if rule in ("constant", "plain") else f"{rule}-{p_last:g}"
            other = "".join(f"-{key}{changes[key]}" for key in changes if key != "depth")
            name = f"{config.data}-{config.depth}-{rule_name}-seed{seed}{other}"
            folder = self.out / "runs" / name
            self._check_same(folder, config)
            jobs[folder], keys[folder] = config, (rule, p_last, seed)
        (self.out / "runs").mkdir(parents=True, exist_ok=True)
        on_gpu = self.settings.get("device", "cpu") != "cpu"
        processes = self.processes or (1 if on_gpu else available_cores())
        epochs = sum(config.epochs for config in jobs.values())
        with closing(Counting(epochs, "epochs of training", quiet=self.quiet)) as counting:
            failures = train_all(
                jobs,
                processes=processes,
                device=self.changes.get("device"),
                stop=self.stop,
                report=counting.reach,
            )
        self.failures |= {folder.name: said for folder, said in failures.items()}
        machine = {"data_dir": self.settings.get("data_dir", "data"), "threads": None}
        if "device" in self.changes:
            machine["device"] = self.changes["device"]
        found = [TrainedRun(f, keys[f], machine) for f in jobs if f not in failures]
        if not found:
            raise UserError(f"no run could be trained: {next(iter(failures.values()))}")
        self.training_images = found[0].config["resolved"]["training_images"]
        return found

    def fingerprint(self, seed: int) -> str:
        """Return a short name of all settings that decide what is trained with a seed."""
        settings = dataclasses.asdict(self.config("constant", 1.0, seed))
        kept = {k: v for k, v in settings.items() if k not in ("preset", *MACHINE_SETTINGS)}
        return hashlib.blake2b(json.dumps(kept).encode(), digest_size=4).hexdigest()

    def _check_same(self, folder: Path, config: Config) -> None:
        if not (folder / runfolder.CONFIG).exists():
            return
        recorded = runfolder.read_json(folder / runfolder.CONFIG)
        name = same_run(recorded, config, ("preset", *MACHINE_SETTINGS))
        if name:
            raise ConfigError(
                f"{folder} is a run with {name} {recorded.get(name)}, and this study wants "
                f"{getattr(config, name)}: choose another --out"
            )

    # ---- results that are remembered ----

    def each(
        self, experiment: str, keys: Iterable[str], compute: Callable[[str], Any]
    ) -> dict[str, Any]:
        """Return ``compute(key)`` for every key, from memory where an earlier call has done it.

        Parameters
        ----------
        keys : list of str
            They say all that decides the result.
        compute : function of a key
            Its result is plain JSON.

        Raises
        ------
        Interrupted
            Between two results; those before are kept.
        """
        path, keys = self.out / f"{experiment}.jsonl", list(keys)
        known = self._remembered(path)
        with closing(Counting(len(keys), experiment, quiet=self.quiet)) as counting:
            for done, key in enumerate(keys, start=1):
                if key not in known:
                    self.stop.check()
                    known[key] = compute(key)
                    append_durably(path, json.dumps([key, known[key]]) + "\n")
                counting.reach(done)
        return {key: known[key] for key in keys}

    def _remembered(self, path: Path) -> dict[str, Any]:
        self.out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return {}
        lines = whole_lines(path)
        try:
            known = dict(json.loads(line) for line in lines)
        except (ValueError, TypeError) as error:
            raise RunFolderError(
                f"{path} is damaged ({error}): remove it, and what it remembers is computed again"
            ) from error
        whole = "".join(line + "\n" for line in lines).encode()
        if len(whole) < path.stat().st_size:  # a kill has cut the last line
            write_atomically(path, lambda stream: stream.write(whole))
        return known

    def command(self, experiment: str) -> str:
        """Return what makes the figure again, but for where the data and the results are."""
        line = ["minisd", "experiment", experiment]
        line += [f"--{self.size}"] if self.size != "laptop" else []
        for name, value in self.changes.items():
            if name == "data_dir":
                continue
            values = value if isinstance(value, tuple | list) else [value]
            if name == "limit" and value is None:
                values = ["all"]
            line += ["--" + name.replace("_", "-"), *map(str, values)]
        return shlex.join([*line, "--out", "DIR"])
