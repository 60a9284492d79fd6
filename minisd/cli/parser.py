"""The ``minisd`` command.

Exit codes: 0 done; 1 a gradient check failed; 2 invalid arguments, data or files (one sentence says
what to change); 3 training met a number that is not finite; 130, 143 and 129 interrupted by Ctrl-C,
SIGTERM and SIGHUP, with everything saved.
"""

import argparse
import dataclasses
import os
import textwrap
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minisd.cli import commands, course
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.study import SETTINGS, SIZES
from minisd.runs.config import DATA_SETS, DEVICES, OLDER_NAMES, PRESETS, Config, resolve
from minisd.runs.run import MACHINE_SETTINGS
from minisd.version import __version__

_TRAIN_EPILOG = """\
examples:
  minisd train                                   the bundled digits, under a minute
  minisd train --preset cifar10 --data-dir data  the paper's CIFAR-10 row (days on a CPU)
  minisd train --data cifar10 --limit 2000 --epochs 2 --depth 8      a quick look
  minisd train --survival constant --seed 2      the same network at constant depth
  minisd train --resume runs/digits-1            continue where a run stopped

Ctrl-C finishes the step, saves, and prints the command that resumes the run. The result is the
test error at the epoch of lowest validation error. The lowest test error is never reported as the
result.

presets, each with what differs from the defaults above. Without --preset, --data NAME takes the
preset NAME-laptop:
"""


_EXPERIMENT_EPILOG = """\
examples:
  minisd experiment gradients --out quick --quick      on the digits, within 30 seconds
  minisd experiment gradients --out digits             within ten minutes on two cores
  minisd experiment lesion --out study --data cifar10 --data-dir data

Experiments with the same --out share the training runs that they have in common. Ctrl-C saves
everything, and the same command continues. Each writes NAME.png, NAME.svg and NAME.csv.

experiments:
"""


def _path(text: str) -> Path:
    """Return a path; ``~`` is the home folder also in --out=~/x, where a shell leaves it."""
    return Path(os.path.expanduser(text))


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; the options of ``train`` are the fields of `Config`."""
    parser = argparse.ArgumentParser(
        prog="minisd",
        description="Deep Networks with Stochastic Depth, from scratch in NumPy.",
        epilog="'minisd COMMAND --help' lists the options of a command.\n\n"
        + (__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"minisd {__version__}")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(parsers)

    sub = _add(
        parsers, commands.evaluate, "test a trained network", argument_default=argparse.SUPPRESS
    )
    sub.add_argument("run", type=_path, metavar="RUN", help="a run's folder")
    sub.add_argument(
        "--which",
        choices=("best", "last"),
        default="best",
        help="weights of the best validation epoch (default) or the last ones",
    )
    _add_settings(
        sub.add_argument_group("settings that may differ from the run's own"), MACHINE_SETTINGS
    )

    sub = _add(parsers, commands.gradcheck, "check every gradient against finite differences")
    sub.add_argument("--seed", type=int, default=0, help="seed of the random inputs (default 0)")
    sub.add_argument(
        "--device", choices=DEVICES, default="cpu", help="where to compute (default cpu)"
    )
    sub.add_argument("--quiet", action="store_true", help="print failures only")

    sub = _add(parsers, commands.data, "list the data sets, or download one")
    sub.add_argument("action", nargs="?", choices=("list", "get"), default="list")
    sub.add_argument(
        "name",
        nargs="?",
        choices=DATA_SETS,
        metavar="NAME",
        help="with get: cifar10, cifar100 or svhn",
    )
    sub.add_argument(
        "--data-dir",
        type=_path,
        metavar="DIR",
        default=Path("data"),
        help="folder with the data sets (default: data)",
    )
    sub.add_argument(
        "--mirror",
        metavar="URL",
        default=None,
        help="download from this address instead; the checksums must still be the published ones",
    )
    sub.add_argument("--quiet", action="store_true", help="print errors only")

    _add_experiment(parsers)

    sub = _add(parsers, commands.tutorials, "list the tutorials, or make their notebooks")
    sub.add_argument("action", nargs="?", choices=("list", "build"), default="list")
    sub.add_argument(
        "folder",
        nargs="?",
        type=_path,
        metavar="FOLDER",
        default=Path("tutorials"),
        help="folder with the scripts, NN_name.py (default: tutorials)",
    )

    course.add_to(parsers)

    sub = _add(parsers, commands.gpu_check, "is the GPU correct, and how fast?")
    sub.add_argument(
        "--depth", type=int, default=110, help="layers of the timed network (default 110)"
    )
    sub.add_argument("--batch-size", type=int, default=128, help="images per step (default 128)")

    _add(parsers, commands.info, "print versions, device and threads, for a bug report")
    return parser


def _add(parsers: Any, command: Any, summary: str, **options: Any) -> argparse.ArgumentParser:
    options.setdefault("description", (command.__doc__ or "").partition("\n")[0])
    parser = parsers.add_parser(
        command.__name__.replace("_", "-"),
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.set_defaults(command=command)
    return typing.cast(argparse.ArgumentParser, parser)


def _add_train(parsers: Any) -> None:
    defaults = dataclasses.asdict(resolve({}))
    presets = ""
    for name, (what, _) in PRESETS.items():
        settings = dataclasses.asdict(resolve({"preset": name}))
        differences = ", ".join(
            f"{key} {_shown(value)}"
            for key, value in settings.items()
            if key not in ("preset", "data") and value != defaults[key]
        )
        presets += f"  {name:24} {what}\n"
        if differences:
            indent = " " * 27
            presets += textwrap.fill(
                differences, 96, initial_indent=indent, subsequent_indent=indent
            )
            presets += "\n"
    sub = _add(
        parsers,
        commands.train,
        "train a network",
        epilog=_TRAIN_EPILOG + presets,
        argument_default=argparse.SUPPRESS,
    )
    sub.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="folder of the run (default: a new one under runs/)",
    )
    sub.add_argument("--force", action="store_true", help="replace an earlier run in --out")
    sub.add_argument(
        "--resume",
        type=_path,
        metavar="DIR",
        help="continue the run in DIR; with --epochs N it is to have N in all, also if finished",
    )
    sub.add_argument(
        "--config",
        type=_path,
        metavar="FILE",
        help="settings from a JSON file, such as a run's config.json; options override them",
    )
    sub.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="S",
        help="one run for each seed, in OUT/seed-S; mean and spread at the end",
    )
    sub.add_argument("--quiet", action="store_true", help="print errors only")
    sub.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    group = sub.add_argument_group(
        "settings (default in brackets; a preset, listed below, has other defaults)"
    )
    _add_settings(group, list(defaults), defaults)


def _add_experiment(parsers: Any) -> None:
    chosen_by = {
        "quick": "with --quick",
        "digits": "by default",
        "laptop": "with another --data",
        "paper": "with --paper (CIFAR-10, or --data: its preset of 'minisd train')",
    }
    sizes = "\nsizes:\n" + "".join(
        f"  {chosen_by[scale]}: "
        + ", ".join(f"{key} {_shown(v)}" for key, v in settings.items())
        + "\n"
        for scale, settings in SIZES.items()
    )
    names = "".join(f"  {name:20} {module.SUMMARY}\n" for name, module in EXPERIMENTS.items())
    sub = _add(
        parsers,
        commands.experiment,
        "repeat the paper's analysis, and extend it",
        epilog=_EXPERIMENT_EPILOG + names + sizes,
        argument_default=argparse.SUPPRESS,
    )
    sub.add_argument(
        "name", nargs="?", choices=tuple(EXPERIMENTS), metavar="NAME", default=None,
        help="one of those below; without a name, the names are listed",
    )  # fmt: skip
    sub.add_argument(
        "--out", type=_path, metavar="DIR", default=Path("experiments"),
        help="folder of the study: figures, numbers, training runs (default: experiments)",
    )  # fmt: skip
    size = sub.add_mutually_exclusive_group()
    for flag, text in (
        ("quick", "a small version on the digits, within 30 seconds"),
        ("paper", "the paper's own size, which takes days"),
    ):
        size.add_argument(
            f"--{flag}", dest="size", action="store_const", const=flag, default="laptop", help=text
        )
    sub.add_argument(
        "--seeds", type=int, nargs="+", metavar="S", help="seeds: one repetition for each"
    )
    sub.add_argument(
        "--processes", type=int, metavar="N", default=None,
        help="runs that train at the same time (default: one for each core)",
    )  # fmt: skip
    sub.add_argument("--quiet", action="store_true", default=False, help="print errors only")
    sub.add_argument(
        "--limit", type=_number_or_all, metavar="N",
        help="use the first N training images only, or 'all'",
    )  # fmt: skip
    group = sub.add_argument_group("settings of the networks, instead of those of the size")
    _add_settings(group, [name for name in SETTINGS if name != "limit"])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _number_or_all(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'all'") from None


def _add_settings(group: Any, names: Sequence[str], defaults: dict[str, Any] | None = None) -> None:
    """Add an option for each of these fields of `Config`; with ``defaults``, show the default."""
    defaults = defaults or {}
    older_names = {name: older for older, name in OLDER_NAMES.items()}
    hints = typing.get_type_hints(Config)
    for setting in dataclasses.fields(Config):
        if setting.name not in names:
            continue
        flag = "--" + setting.name.replace("_", "-")
        text = setting.metadata["help"]
        if defaults.get(setting.name) is not None:
            text += f" [{_shown(defaults[setting.name])}]"
        choices = setting.metadata["choices"]
        hint = hints[setting.name]
        if hint is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif typing.get_origin(hint) is tuple:
            group.add_argument(flag, type=float, nargs="*", metavar="E", help=text)
        else:
            kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
            metavar = None if choices else {int: "N", float: "X"}.get(kind, "NAME")
            metavar = "DIR" if setting.name in ("data_dir", "init") else metavar
            group.add_argument(flag, type=kind, choices=choices, metavar=metavar, help=text)
            if setting.name in older_names:
                older = older_names[setting.name]
                flag = "--" + older.replace("_", "-")
                group.add_argument(flag, dest=older, type=kind, help=argparse.SUPPRESS)
