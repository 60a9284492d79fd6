"""What each command does, and its exit code; ``minisd train`` is in `minisd.cli.training`."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from minisd.cli.named_data import check_study_data
from minisd.data import download, load
from minisd.distributed.launch import described, join, threads_per_rank
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
from minisd.runs import session, snapshot
from minisd.runs.config import DATA_SETS
from minisd.runs.fit import error_rate
from minisd.runs.interrupt import Interrupted
from minisd.runs.run import Run, versions
from minisd.terminal import wrapped
from minisd.tutorial import notebooks

OK, FAILED = 0, 1
ALL = "all"  # instead of the name of an experiment
NO_GPU = 2  # exit code of `minisd.cli.gpu_check` without a usable GPU


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
