"""What each command of ``minisd`` does. Each returns an exit code. `minisd.cli` has the options."""

import argparse
import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from minisd.cli.idle_options import check_effect
from minisd.cli.named_data import check_data_is_named, check_study_data
from minisd.cli.seeds import train_seeds
from minisd.cli.survival_option import chosen_survival
from minisd.data import download, is_path, load
from minisd.distributed import Group
from minisd.distributed.launch import described, join, ranks_that_share_cores, threads_per_rank
from minisd.errors import ConfigError, DeviceError, SchedulerError, UserError
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.catalogue import run as run_experiment
from minisd.experiments.study import Study
from minisd.gpu import describe_gpu, resolve_device
from minisd.gradcheck.report import TOLERANCE
from minisd.gradcheck.table import all_checks
from minisd.machine import available_cores, threads
from minisd.models import num_blocks
from minisd.ops.check import whole_number
from minisd.runs import folder as runfolder
from minisd.runs import interrupt, session, snapshot
from minisd.runs.config import DATA_SETS, resolve, with_present_names
from minisd.runs.fit import error_rate
from minisd.runs.interrupt import Interrupted
from minisd.runs.progress import Console, Progress
from minisd.runs.run import Run, versions
from minisd.terminal import wrapped
from minisd.tutorial import notebooks

OK, FAILED = 0, 1
ALL = "all"  # instead of the name of an experiment
NO_GPU = 2  # exit code of `minisd.cli.gpu_check` without a usable GPU


def train(
    *,
    out: Path | None = None,
    force: bool = False,
    resume: Path | None = None,
    config: Path | None = None,
    seeds: list[int] | None = None,
    quiet: bool = False,
    end_with_parent: bool = False,
    processes: int | None = None,
    **settings: Any,
) -> int:
    """Train a residual network with stochastic depth. Without options: on the bundled digits."""
    if end_with_parent:
        interrupt.end_with_parent()
    group = join()
    _check_processes(processes, group, seeds)
    progress = Progress() if quiet or group.rank > 0 else Console()
    if resume is not None and (out is not None or force):
        raise ConfigError("--resume continues in the run's own folder: leave out --out and --force")
    if force and out is None:
        raise ConfigError("--force replaces the run in --out: give --out as well")
    if resume is not None and config is not None:
        raise ConfigError("--resume has the run's own settings: leave out --config")
    if seeds is not None and (force or resume is not None or "seed" in settings):
        raise ConfigError(
            "--seeds is for new runs, each with its seed: leave out --seed, --resume and --force"
        )
    origin = {}
    if "survival" in settings:
        settings["survival"], remark = chosen_survival(settings["survival"])
        origin = {} if remark is None else {"survival": remark}
        if remark is not None and resume is not None:
            raise ConfigError("a run that is resumed keeps its probabilities: leave out --survival")
    given = with_present_names(settings)
    if config is not None:
        settings = _with_file(config, settings)
    if resume is None:
        check_data_is_named(settings)
        if not end_with_parent:  # else a program has chosen the options
            check_effect(given, resolve(settings))
    if seeds is not None:
        train_seeds(seeds, settings, out, progress, quiet)
        return OK
    with ExitStack() as made:
        if resume is not None:
            folder = resume
            start = partial(session.resume, folder, settings, group=group)
        else:
            chosen = resolve(settings)
            stem = chosen.data_name if is_path(chosen.data) else chosen.preset
            folder = out or group.first(
                lambda: made.enter_context(runfolder.new_folder(Path("runs"), stem))
            )
            start = partial(session.train, chosen, folder, force=force, origin=origin, group=group)
        try:
            run = start(progress=progress)
        except Interrupted as stopped:
            if group.rank == 0:
                line = shlex.join(["minisd", "train", "--resume", str(folder)])
                line += f" --processes {group.size}" if group.size > 1 else ""
                print(f"\n{stopped}: saved. Go on with: {line}", file=sys.stderr)
            raise
    best = run.position.best
    assert best is not None
    progress.say(
        f"result    test error {best['test_error']:.2%} at epoch {best['epoch']}, of lowest "
        f"validation error ({best['val_error']:.2%})\n"
        f"files     {folder}/  config.json  log.jsonl  checkpoint.npz  curve.png"
    )
    return OK


def _check_processes(processes: int | None, group: Group, seeds: list[int] | None) -> None:
    """Refuse numbers of processes that do not fit together."""
    size = group.size
    if processes is not None and processes != size:  # `minisd.cli.running` has started the others
        raise ConfigError(
            f"mpiexec has started {size} processes: leave out --processes {processes}"
            if size > 1
            else f"--processes must be at least 1, got {processes}"
        )
    if seeds is not None and size > 1:
        raise ConfigError("--seeds trains each run in a process of its own: leave out --processes")
    cores, ranks = available_cores(), ranks_that_share_cores(group)
    if group.rank == 0 and ranks > cores:
        Progress().warn(
            f"{ranks} processes on {cores} cores: those that wait keep a core busy, which makes "
            "all of them slow"
        )


def _with_file(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file, or of the run in a folder, with those of the command line."""
    if "preset" in settings:
        raise ConfigError(
            "--config has all settings, so a preset has no effect: leave out --preset"
        )
    path = path / runfolder.CONFIG if path.is_dir() else path
    if not path.exists():
        raise ConfigError(f"there is no file {path}: give settings, such as a run's config.json")
    there = with_present_names(session.settings_in(path))
    chosen = {**there, **with_present_names(settings)}
    try:
        resolve(chosen)
    except ConfigError as error:
        raise ConfigError(f"with the settings of {path}: {error}") from error
    return chosen


def evaluate(*, run: Path, which: str, **machine: Any) -> int:
    """Test the network of a run: every block is present, each branch weighted by p_l."""
    config = session.read_settings(run, machine)
    with threads(config.threads):
        trained = Run(config)
        position = snapshot.load_weights(
            trained, run / runfolder.CHECKPOINT, "best" if which == "best" else "model"
        )
        best = position["best"]
        weights = (
            f"epoch {best['epoch']}, the best on validation" if which == "best" else "the last step"
        )
        epochs_done = len(position["history"])
        print(
            f"{run}: ResNet-{config.depth} on {config.data_name}, epoch {epochs_done} of "
            f"{config.epochs}"
        )
        print(f"weights of {weights}")
        if trained.data_remark:
            print(wrapped(trained.data_remark))
        if trained.why_device:
            print(wrapped(f"device {trained.device} ({trained.why_device})"))
        print(f"validation error {error_rate(trained, trained.validation):.2%}")
        print(f"test error       {error_rate(trained, trained.test):.2%}")
    return OK


def gradcheck(*, seed: int, device: str, quiet: bool) -> int:
    """Compare every gradient with finite differences in float64; print the worst errors."""
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {seed}")

    device, why = resolve_device(device)
    reports = []
    if not quiet:
        if why:
            print(wrapped(f"device {device} ({why})"))
        print("   relative\n      error  slopes  checked")
    for report in all_checks(seed, device):
        reports.append(report)
        if not quiet:
            mark = "" if report.passed else "  FAILED"
            line = f"{report.worst.error:11.1e}  {len(report.slopes):6d}  {report.name}{mark}"
            print(wrapped(line))
    failed = [report for report in reports if not report.passed]
    for report in failed:
        print(report.explain(), file=sys.stderr)
    worst = max(report.worst.error for report in reports)
    if not quiet:
        print(
            f"{worst:11.1e}  worst of {len(reports)} checks, tolerance {TOLERANCE:g}: "
            f"{'all gradients are right' if not failed else f'{len(failed)} failed'}"
        )
    return FAILED if failed else OK


def data(*, action: str, name: str | None, data_dir: Path, mirror: str | None, quiet: bool) -> int:
    """List the data sets and whether their files are here, or download the files of one."""
    if action == "get":
        if name is None:
            raise UserError(f"minisd data get needs a name: {', '.join(download.SOURCES)}")
        if name not in download.SOURCES:
            print(f"{name}: comes with the package, nothing to download")
            return OK
        folder = download.get(download.SOURCES[name], data_dir, mirror=mirror, quiet=quiet)
        if not quiet:
            print(f"{name}: complete in {folder}")
        return OK
    for listed in DATA_SETS if name is None else (name,):
        try:
            dataset = load(listed) if listed == "digits" else load(listed, data_dir)
            shape = "x".join(map(str, dataset.image_shape))
            status = f"{len(dataset.train)} training and {len(dataset.test)} test images of {shape}"
            status += f"; {dataset.remark}" if dataset.remark else ""
        except UserError as error:
            status = str(error)
        print(wrapped(f"{listed:8}  {status}"))
    return OK


def experiment(
    *,
    name: str | None,
    out: Path,
    size: str,
    processes: int | None,
    scheduler: str | None,
    quiet: bool,
    **changes: Any,
) -> int:
    """Repeat an analysis of the paper, or extend it: a figure and the numbers in it."""
    if name is None:
        print("\n".join(f"{each:20} {module.SUMMARY}" for each, module in EXPERIMENTS.items()))
        print(f"{ALL:20} each of these in turn")
        return OK
    check_study_data(changes, size)
    problems: dict[str, None] = {}  # in order, and each once
    for each in EXPERIMENTS if name == ALL else (name,):
        study = Study(
            out, size=size, processes=processes, scheduler=scheduler, quiet=quiet, **changes
        )
        if name == ALL and not quiet:
            print(f"\n{each}: {EXPERIMENTS[each].SUMMARY}", flush=True)
        try:
            run_experiment(each, study, name_ignored=name != ALL)
        except Interrupted as stopped:
            print(f"\n{stopped}: saved. Go on with the same command", file=sys.stderr)
            raise
        except UserError as error:
            if name != ALL or isinstance(error, SchedulerError):
                raise
            problems[f"{each}: {error}"] = None
        if study.failures:
            problems[_failed_runs(study)] = None
    if problems:
        raise UserError("; ".join(problems))
    return OK


def _failed_runs(study: Study) -> str:
    reasons = "; ".join(f"{run}: {reason}" for run, reason in study.failures.items())
    failed = len(study.failures)
    return (
        f"{failed} {'run' if failed == 1 else 'runs'} failed, not in the figure ({reasons}); "
        "all others are complete; the same command tries again"
    )


def tutorials(*, action: str, folder: Path) -> int:
    """List the tutorials, or make a notebook without outputs beside each of them."""
    if action == "build":
        for notebook in notebooks.build(folder):
            print(notebook)
        return OK
    for script in notebooks.scripts(folder):
        about = notebooks.about(script)
        print(wrapped(f"{script}  {about.title} ({about.minutes} minutes)"))
    return OK


def gpu_check(*, depth: int, batch_size: int) -> int:
    """Check the GPU against NumPy and time it: prints a report to paste into an issue."""
    try:
        num_blocks(depth)
        whole_number("--batch-size", batch_size, 2)
    except ValueError as error:
        raise ConfigError(str(error)) from error

    def run(title: str, *arguments: object, **changes: str) -> int:
        print(f"\n{title}", flush=True)
        environment = {k: v for k, v in os.environ.items() if k != "CUPY_ACCELERATORS"} | changes
        line = [sys.executable, "-m", "minisd.cli.gpu_check", *map(str, arguments)]
        return subprocess.run(line, env=environment).returncode

    print("minisd gpu-check")
    for name, value in versions().items():
        print(f"{name:9} {value}")
    codes = [run("differences from NumPy, with CuPy's default accelerators")]
    if codes == [NO_GPU]:
        return NO_GPU
    codes.append(run("differences from NumPy, without them", CUPY_ACCELERATORS=""))
    step = f"training step of ResNet-{depth}, batch {batch_size}, float32, fastest of 5"
    codes.append(run(step, depth, batch_size))
    print("\nall passed" if not any(codes) else f"\nNOT ALL PASSED (exit codes {codes}): see above")
    return FAILED if any(codes) else OK


def print_help(parser: argparse.ArgumentParser) -> int:
    """Print the help of a command that was called without one of its commands."""
    parser.print_help()
    return OK


def info() -> int:
    """Print versions, cores, processes, and whether there is a usable GPU."""
    group = join()
    threads_each = threads_per_rank(group, available_cores())
    ranks = described(group, threads_each)
    if group.rank > 0:
        return OK
    with threads(threads_each):
        for name, value in versions().items():
            print(f"{name:9} {value}")
    print(f"{'cores':9} {available_cores()} may be used by this process")
    for line in ranks:
        print(wrapped(line))
    try:
        print(wrapped(f"gpu       usable: {describe_gpu()}"))
    except DeviceError as error:
        print(wrapped(f"gpu       {error}"))
    return OK
