"""What all experiments share: settings in three sizes, trained runs, and stored results.

A study has a folder. Its subfolder ``runs/`` has the training runs, which all experiments of the
study can use. ``NAME.jsonl`` has the results that an experiment has computed so far. So the same
command continues after any interruption.
"""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from minisd import data
from minisd.errors import ConfigError, RunFolderError, UserError
from minisd.experiments import own_rules, stored
from minisd.experiments.pool import same_run, train_all
from minisd.experiments.scheduler import check_installed
from minisd.experiments.sweep import train_on
from minisd.experiments.trained import Key, TrainedRun
from minisd.figures import STYLES
from minisd.locks import Taken, locked
from minisd.machine import available_cores
from minisd.ops.check import whole_number
from minisd.runs import folder as runfolder
from minisd.runs.config import Config, resolve
from minisd.runs.interrupt import StopSignals
from minisd.runs.progress import Counting, Progress
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
"""By scale. ``digits`` and ``laptop`` (other data sets) take up to ten minutes on two cores, and
``quick`` takes up to 30 seconds. ``paper`` has the settings of the paper, and takes days."""

SETTINGS = (
    "data", "data_dir", "depth", "width", "epochs", "batch_size", "lr", "limit", "flow", "device",
)  # fmt: skip
"""Fields of `minisd.runs.config.Config` that a study may set, instead of those of its size."""

Job = tuple[str, float, int, dict[str, Any]]
"""A run: rule, p_L, seed, and settings that differ from the study's."""


class Planned(NamedTuple):
    """A run that is to have a folder of the study: its settings, its key, and perhaps a title."""

    config: Config
    key: Key
    title: str | None


class Study:
    """The settings and the folder of experiments.

    Parameters
    ----------
    out : path
    size : "quick", "laptop" or "paper"
        "laptop" uses the digits, or the first images of another data set.
    processes : int, optional
        Runs that train at the same time. Default: one for each core; on a GPU one.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers train the runs: see `minisd.experiments.sweep`.
    quiet : bool
        Print errors only.
    style : "screen" or "paper"
        How figures are drawn: see `minisd.figures.STYLES`. For a paper they are a page wide and
        have letters (a), (b) instead of a title.
    pdf : bool
        Write figures as PDF, too.
    **changes
        ``seeds``, and any of `SETTINGS`.

    Raises
    ------
    ConfigError
        If a setting is invalid, or a study has no such setting.
    MissingPackageError
        If a scheduler is given, and Dask is not installed.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        size: str = "laptop",
        processes: int | None = None,
        scheduler: str | None = None,
        quiet: bool = False,
        style: str = "screen",
        pdf: bool = False,
        **changes: Any,
    ) -> None:
        self.out = Path(out)
        self.size = size
        self.quiet = quiet
        self.style, self.pdf = style, pdf
        self.changes = dict(changes)
        if size not in ("quick", "laptop", "paper"):
            raise ConfigError(f"the size of a study is quick, laptop or paper, not {size!r}")
        if style not in STYLES:
            raise ConfigError(f"the style of figures is {' or '.join(STYLES)}, not {style!r}")
        for setting in changes:
            if setting not in ("seeds", *SETTINGS):
                raise ConfigError(
                    f"a study has no setting {setting!r}; there are seeds, {', '.join(SETTINGS)}"
                )
        name = changes.get("data", "cifar10" if size == "paper" else "digits")
        if size == "quick" and name != "digits":
            raise ConfigError("--quick works on the digits only: leave out --data, or --quick")
        self.scale = "digits" if size == "laptop" and name == "digits" else size
        settings = {"data": name, **SIZES[self.scale], **changes}
        if size == "paper" and name in ("cifar10", "cifar100", "svhn"):
            deepest = name == "cifar10" and settings.get("depth") == 1202
            settings["preset"] = "cifar10-1202" if deepest else name
        self.seeds: tuple[int, ...] = tuple(settings.pop("seeds"))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("--seeds needs at least one number, and no number twice")
        self.settings = settings
        if processes is not None and processes < 1:
            raise ConfigError(f"the number of processes must be at least 1, got {processes}")
        if processes is not None and scheduler is not None:
            raise ConfigError(
                "--processes is for runs on this machine; with --scheduler each worker trains one "
                "run at a time: leave out --processes"
            )
        if scheduler is not None:
            check_installed()
        self.processes, self.scheduler = processes, scheduler
        self.failures: dict[str, str] = {}
        self.stop = StopSignals()
        self.training_images: int | None = None
        for seed in self.seeds:
            self.config("constant", 1.0, seed)  # raises an error if the settings are invalid

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Lock the study's folder for this process, and let signals wait for `stop`."""
        # before anything is written: raises an error if the data is missing
        data.load(self.settings["data"], self.settings.get("data_dir", "data"))
        with ExitStack() as held:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.out / ".lock"))
                with self.stop:
                    yield
            except Taken as taken:
                who = f" ({taken})" if str(taken) else ""
                raise RunFolderError(f"another process is using {self.out}{who}") from None
            except OSError as error:
                if isinstance(error, UserError | BrokenPipeError):
                    raise
                raise RunFolderError(f"{self.out} cannot be written: {error}") from error

    # ---- training runs ----

    def config(self, rule: str, p_last: float, seed: int, **changes: Any) -> Config:
        """Return the settings of a run. Rule "plain" is constant depth without shortcuts.

        With ``survival`` among the changes, the rule is only a label.
        """
        if "survival" in changes:
            return resolve({**self.settings, "p_last": p_last, "seed": seed, **changes})
        survival = {"plain": "constant"}.get(rule, rule)
        shortcut = {"shortcut": "none"} if rule == "plain" else {}
        return resolve(
            {
                **self.settings,
                "survival": survival,
                "p_last": 1.0 if survival == "constant" else p_last,
                "seed": seed,
                **shortcut,
                **changes,
            }
        )

    def runs(
        self,
        rules: Iterable[tuple[str, float]] | Mapping[str, own_rules.Own],
        seeds: Sequence[int] = (),
    ) -> list[TrainedRun]:
        """Call `train` for every rule with every seed.

        Parameters
        ----------
        rules : iterable of (name, p_L), or dict
            A dict has, by labels of your own, L probabilities, functions of L (and p_L), names of
            rules, or pairs as well. The label is the name of the runs and of their folders; what
            is saved in them are the probabilities. If the study was made without a depth, lists of
            probabilities decide it: 15 blocks are 32 layers.
        seeds : sequence of int
            Default: those of the study.

        Examples
        --------
        ``Study("s").runs({"linear": linear_decay(9), "mine": lambda L: [0.8] * L}, seeds=[1, 2])``
        """
        seeds = [whole_number("a seed", seed, 0, 2**63) for seed in seeds] or self.seeds
        if not isinstance(rules, Mapping):
            return self.train(self.jobs(rules, seeds))
        L = self.config("constant", 1.0, self.seeds[0]).num_blocks
        own = own_rules.jobs(rules, L, seeds, depth_is_given="depth" in self.changes)
        return self.train(own)

    def jobs(self, rules: Iterable[tuple[str, float]], seeds: Sequence[int] = ()) -> list[Job]:
        """Return a run for every rule, a pair of name and p_L, with every seed."""
        return [(*rule, seed, {}) for rule in rules for seed in seeds or self.seeds]

    def planned(self, wanted: Iterable[Job]) -> dict[Path, Planned]:
        """Return the wanted runs by their folders. Nothing is written.

        Raises
        ------
        ConfigError
            If there is a run of other settings in such a folder.
        """
        planned: dict[Path, Planned] = {}
        for rule, p_last, seed, changes in wanted:
            config = self.config(rule, p_last, seed, **changes)
            rule_name = rule if rule in ("constant", "plain") else f"{rule}-{p_last:g}"
            if "survival" in changes:
                rule_name = own_rules.slug(rule)
            others = [key for key in changes if key not in ("depth", "survival")]
            suffix = "".join(f"-{key}{changes[key]}" for key in others)
            name = f"{config.data_name}-{config.depth}-{rule_name}-seed{seed}{suffix}"
            folder = self.out / "runs" / name
            self._check_same(folder, config)
            title = rule if "survival" in changes else None
            planned[folder] = Planned(config, (rule, p_last, seed), title)
        return planned

    def train(self, wanted: Iterable[Job]) -> list[TrainedRun]:
        """Train the wanted runs, except those that are already trained, and return all of them.

        A run that fails is left out. `failures` has its name and the error.

        Raises
        ------
        UserError
            If all runs failed.
        """
        planned = self.planned(wanted)
        jobs = {folder: run.config for folder, run in planned.items()}
        (self.out / "runs").mkdir(parents=True, exist_ok=True)
        on_gpu = self.settings.get("device", "cpu") != "cpu"
        processes = self.processes or (1 if on_gpu else available_cores())
        epochs = sum(config.epochs for config in jobs.values())
        with closing(Counting(epochs, "epochs of training", quiet=self.quiet)) as counting:
            train = (
                partial(train_all, processes=processes)
                if self.scheduler is None
                else partial(train_on, self.scheduler)
            )
            failures = train(
                jobs,
                device=self.changes.get("device"),
                stop=self.stop,
                report=counting.reach,
                say=(Progress().say if self.quiet else Progress().warn),
            )
        self.failures |= {folder.name: message for folder, message in failures.items()}
        machine = {"data_dir": self.settings.get("data_dir", "data"), "threads": None}
        if "device" in self.changes:
            machine["device"] = self.changes["device"]
        trained = [
            TrainedRun(folder, run.key, machine, title=run.title)
            for folder, run in planned.items()
            if folder not in failures
        ]
        if not trained:
            raise UserError(f"no run could be trained: {next(iter(failures.values()))}")
        self.training_images = trained[0].config["resolved"]["training_images"]
        return trained

    def fingerprint(self, seed: int) -> str:
        """Return a short checksum of all settings that decide what is trained with a seed."""
        return _checksum(self._decisive(seed))

    def identity(self) -> str:
        """Return a short checksum of all settings that decide what a figure shows, but seeds."""
        return _checksum({**self._decisive(self.seeds[0]), "seed": None, "scale": self.scale})

    def _decisive(self, seed: int) -> dict[str, Any]:
        settings = dataclasses.asdict(self.config("constant", 1.0, seed))
        return {k: v for k, v in settings.items() if k not in ("preset", *MACHINE_SETTINGS)}

    def _check_same(self, folder: Path, config: Config) -> None:
        if not (folder / runfolder.CONFIG).exists():
            return
        recorded = runfolder.read_json(folder / runfolder.CONFIG)
        name = same_run(recorded, config, ("preset", *MACHINE_SETTINGS))
        if name:
            raise ConfigError(
                f"{folder} is a run with {name} {recorded.get(name)}, but this study wants "
                f"{getattr(config, name)}: choose another --out"
            )

    # ---- stored results ----

    def each(
        self, experiment: str, keys: Iterable[str], compute: Callable[[str], Any]
    ) -> dict[str, Any]:
        """Return ``compute(key)`` for every key. Results are stored in a file, and reused.

        Parameters
        ----------
        keys : list of str
            A key must contain everything that decides the result.
        compute : function of a key
            Its result must be plain JSON.

        Raises
        ------
        Interrupted
            Between two results. All results before are stored.
        """
        path, keys = self.out / f"{experiment}.jsonl", list(keys)
        self.out.mkdir(parents=True, exist_ok=True)
        results = stored.load(path)
        with closing(Counting(len(keys), experiment, quiet=self.quiet)) as counting:
            for done, key in enumerate(keys, start=1):
                if key not in results:
                    self.stop.check()
                    results[key] = compute(key)
                    stored.add(path, key, results[key])
                counting.reach(done)
        return {key: results[key] for key in keys}

    def command(self, experiment: str) -> str:
        """Return the command that makes the figure again, without the folders of this machine."""
        line = ["minisd", "experiment", experiment]
        line += [f"--{self.size}"] if self.size != "laptop" else []
        for name, value in self.changes.items():
            if name == "data_dir":
                continue
            values = value if isinstance(value, tuple | list) else [value]
            if name == "limit" and value is None:
                values = ["all"]
            line += ["--" + name.replace("_", "-"), *map(str, values)]
        line += ["--style", self.style] if self.style != "screen" else []
        line += ["--pdf"] if self.pdf else []
        return shlex.join([*line, "--out", "DIR"])


def _checksum(settings: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(settings).encode(), digest_size=4).hexdigest()
