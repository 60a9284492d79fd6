"""The experiments of ``minisd experiment`` by name."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from minisd.experiments import (
    depth_distribution,
    ensemble,
    gradients,
    gradients_by_depth,
    learning_curves,
    lesion,
    shattered,
    survival,
    training_time,
    update_ratios,
)
from minisd.experiments.publish import Result, check_same_study, publish
from minisd.experiments.study import Study
from minisd.runs.config import Config
from minisd.runs.progress import Progress

EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        gradients,
        learning_curves,
        survival,
        training_time,
        depth_distribution,
        gradients_by_depth,
        update_ratios,
        lesion,
        shattered,
        ensemble,
    )
}


def ignored_options(name: str, study: Study) -> list[str]:
    """Return the options that were given, but that an experiment has no use for."""
    given = [*study.changes]
    given += [option for option in ("processes", "scheduler") if getattr(study, option)]
    ignores = getattr(EXPERIMENTS[name], "IGNORES", ())
    return ["--" + option.replace("_", "-") for option in given if option in ignores]


def trainings(names: Iterable[str], study: Study) -> dict[Path, Config]:
    """Return the runs that experiments need, complete or not, by their folders, each once."""
    jobs: dict[Path, Config] = {}
    for name in names:
        if wanted := getattr(EXPERIMENTS[name], "trainings", None):
            jobs |= {folder: run.config for folder, run in study.planned(wanted(study)).items()}
    return jobs


def run(name: str, study: Study, *, name_ignored: bool = True) -> Result:
    """Run one experiment: train or measure what is missing, and write figure and numbers.

    Parameters
    ----------
    name : str
    study : Study
    name_ignored : bool
        Print the options that were given, but that this experiment has no use for.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM. The same study can continue later.
    RunFolderError
        If the study's folder cannot be written, or another process is using it.
    """
    experiment: Callable[[Study], Result] = EXPERIMENTS[name].run
    with study.at_work():
        check_same_study(study, name)  # first: training may take long
        if name_ignored and (ignored := ignored_options(name, study)):
            Progress().warn(f"{name} trains no runs: it makes no use of {', '.join(ignored)}")
        result = experiment(study)
        publish(study, name, result)
    return result
