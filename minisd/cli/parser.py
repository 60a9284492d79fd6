"""The ``minisd`` command.

Exit codes: 0 done; 1 a gradient check failed; 2 something in the arguments, the data or the files
has to be mended (one sentence says what); 3 training met a number that is not finite; 130 and 143
interrupted by Ctrl-C and SIGTERM, with everything saved.
"""

import argparse
import dataclasses
import os
import signal
import sys
import textwrap
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minisd.cli import commands
from minisd.errors import NonFiniteError, UserError
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.study import SETTINGS, SIZES
from minisd.runs.config import DATA_SETS, DEVICES, PRESETS, Config
from minisd.runs.interrupt import Interrupted
from minisd.runs.run import MACHINE_SETTINGS
from minisd.version import __version__

USER_ERROR, NOT_FINITE = 2, 3

_TRAIN_EPILOG = """\
examples:
  minisd train                                   the bundled digits, under a minute
  minisd train --preset cifar10 --data-dir data  the paper's CIFAR-10 row (days on a CPU)
  minisd train --data cifar10 --limit 2000 --epochs 2 --depth 8      a quick look
  minisd train --survival constant --seed 2      the same network at constant depth
  minisd train --resume runs/digits-1            go on where a run stopped

Ctrl-C finishes the step, saves, and says how to go on. The result is the test error at the epoch
of lowest validation error; the lowest test error is never reported.

presets:
"""


_EXPERIMENT_EPILOG = """\
examples:
  minisd experiment gradients --out quick --quick      on the digits, within 30 seconds
  minisd experiment gradients --out digits             within ten minutes on two cores
  minisd experiment lesion --out study --data cifar10 --data-dir data

Experiments with the same --out share training runs where they want the same ones. Ctrl-C saves
everything; the same command goes on. Each writes NAME.png, NAME.svg and NAME.csv.

experiments:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = make_parser()
    namespace = vars(parser.parse_args(arguments))
    command = namespace.pop("command")
    try:
        return int(command(**namespace))
    except Interrupted as stopped:
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("\nminisd: stopped at once; what was saved before is whole", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # as in "minisd gradcheck | head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # SIGPIPE
    except MemoryError as error:  # training says more: see `minisd.runs.explain`
        found = "" if isinstance(error, UserError) else "the memory is too small: "
        print(f"minisd: {found}{error}", file=sys.stderr)
        return USER_ERROR
    except NonFiniteError as error:
        print(f"minisd: {error}", file=sys.stderr)
        return NOT_FINITE
    except UserError as error:
        print(f"minisd: {error}", file=sys.stderr)
        return USER_ERROR


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; the options of ``train`` are the fields of `Config`."""
    parser = argparse.ArgumentParser(
        prog="minisd",
        description="Deep Networks with Stochastic Depth, from scratch in NumPy.",
        epilog="'minisd COMMAND --help' says more.\n\n" + (__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"minisd {__version__}")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(parsers)

    sub = _add(
        parsers, commands.evaluate, "test a trained network", argument_default=argparse.SUPPRESS
    )
    sub.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    sub.add_argument(
        "--which",
        choices=("best", "last"),
        default="best",
        help="weights of the best validation epoch (default) or the last ones",
    )
    _add_settings(sub.add_argument_group("where it runs, if that changed"), MACHINE_SETTINGS)

    sub = _add(parsers, commands.gradcheck, "prove every gradient against finite differences")
    sub.add_argument("--seed", type=int, default=0, help="of the random inputs (default 0)")
    sub.add_argument("--device", choices=DEVICES, default="cpu", help="where (default cpu)")
    sub.add_argument("--quiet", action="store_true", help="print nothing but failures")

    sub = _add(parsers, commands.data, "list data sets, or fetch one")
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
        type=Path,
        metavar="DIR",
        default=Path("data"),
        help="folder of the data sets (default: data)",
    )
    sub.add_argument(
        "--mirror",
        metavar="URL",
        default=None,
        help="fetch from here instead; the checksums stay the published ones",
    )
    sub.add_argument("--quiet", action="store_true", help="say nothing but errors")

    _add_experiment(parsers)

    sub = _add(parsers, commands.tutorials, "list the tutorials, or make their notebooks")
    sub.add_argument("action", nargs="?", choices=("list", "build"), default="list")
    sub.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        default=Path("tutorials"),
        help="where the scripts are, NN_name.py (default: tutorials)",
    )

    sub = _add(parsers, commands.gpu_check, "is this GPU right, and how fast?")
    sub.add_argument("--depth", type=int, default=110, help="of the timed network (default 110)")
    sub.add_argument("--batch-size", type=int, default=128, help="images a step (default 128)")

    _add(parsers, commands.info, "versions, device and threads, for a bug report")
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
    presets = ""
    for name, (what, values) in PRESETS.items():
        shown = ", ".join(f"{key} {value}" for key, value in values.items() if key != "data")
        presets += (
            f"  {name:24} {what}\n"
            + textwrap.fill(shown, 96, initial_indent=" " * 27, subsequent_indent=" " * 27)
            + "\n"
        )
    sub = _add(
        parsers,
        commands.train,
        "train a network",
        epilog=_TRAIN_EPILOG + presets,
        argument_default=argparse.SUPPRESS,
    )
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run (default: a new one under runs/)"
    )
    sub.add_argument("--force", action="store_true", help="replace an earlier run in --out")
    sub.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    sub.add_argument("--quiet", action="store_true", help="say nothing but errors")
    group = sub.add_argument_group(
        "settings (in brackets the value where the preset, listed below, names no other)"
    )
    _add_settings(group, [setting.name for setting in dataclasses.fields(Config)])


def _add_experiment(parsers: Any) -> None:
    told = {
        "quick": "with --quick",
        "digits": "by default",
        "laptop": "with another --data",
        "paper": "with --paper (CIFAR-10, or --data: its preset of 'minisd train')",
    }
    sizes = "\nsizes:\n" + "".join(
        f"  {told[scale]}: " + ", ".join(f"{key} {_shown(v)}" for key, v in settings.items()) + "\n"
        for scale, settings in SIZES.items()
    )
    names = "".join(f"  {name:20} {module.SUMMARY}\n" for name, module in EXPERIMENTS.items())
    sub = _add(
        parsers,
        commands.experiment,
        "repeat the paper's analysis, and go past it",
        epilog=_EXPERIMENT_EPILOG + names + sizes,
        argument_default=argparse.SUPPRESS,
    )
    sub.add_argument(
        "name", nargs="?", choices=tuple(EXPERIMENTS), metavar="NAME", default=None,
        help="one of those below; without it their names are listed",
    )  # fmt: skip
    sub.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("experiments"),
        help="folder of the study: figures, numbers, training runs (default: experiments)",
    )  # fmt: skip
    size = sub.add_mutually_exclusive_group()
    for flag, text in (
        ("quick", "a small version on the digits, within 30 seconds"),
        ("paper", "the paper's own size: days"),
    ):
        size.add_argument(
            f"--{flag}", dest="size", action="store_const", const=flag, default="laptop", help=text
        )
    sub.add_argument("--seeds", type=int, nargs="+", metavar="S", help="repetitions")
    sub.add_argument(
        "--processes", type=int, metavar="N", default=None,
        help="runs that train at the same time (default: one for each core)",
    )  # fmt: skip
    sub.add_argument("--quiet", action="store_true", default=False, help="say nothing but errors")
    sub.add_argument(
        "--limit", type=_number_or_all, metavar="N",
        help="use the first N training images only, or 'all'",
    )  # fmt: skip
    group = sub.add_argument_group("settings of the networks, in place of the size's own")
    _add_settings(group, [name for name in SETTINGS if name != "limit"], defaults=False)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _number_or_all(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'all'") from None


def _add_settings(group: Any, names: Sequence[str], *, defaults: bool = True) -> None:
    """Add an option for each of these fields of `Config`; say its default, if it is that here."""
    hints = typing.get_type_hints(Config)
    for setting in dataclasses.fields(Config):
        if setting.name not in names:
            continue
        flag = "--" + setting.name.replace("_", "-")
        text = setting.metadata["help"]
        if defaults and setting.name not in ("preset", "data") and setting.default is not None:
            text += f" [{setting.default}]"
        choices = setting.metadata["choices"]
        hint = hints[setting.name]
        if hint is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif typing.get_origin(hint) is tuple:
            group.add_argument(flag, type=float, nargs="*", metavar="E", help=text)
        else:
            kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
            metavar = None if choices else {int: "N", float: "X"}.get(kind, "NAME")
            metavar = "DIR" if setting.name == "data_dir" else metavar
            group.add_argument(flag, type=kind, choices=choices, metavar=metavar, help=text)
