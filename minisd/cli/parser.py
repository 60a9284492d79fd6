"""The ``minisd`` command.

Exit codes: 0 done; 1 a gradient check failed; 2 invalid arguments, data or
files (one sentence says what to change); 3 training met a number that is not
finite; 130, 143 and 129 interrupted by Ctrl-C, SIGTERM and SIGHUP, with
everything saved.
"""

import argparse
import dataclasses
import os
import typing
from functools import partial
from pathlib import Path
from typing import Any

from minisd.cli import commands, course, sweep, training
from minisd.cli.arguments import Parser
from minisd.cli.settings import add_settings, show_defaults, shown
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.study import SETTINGS, SIZES
from minisd.figures import STYLES
from minisd.runs.config import DATA_SETS, DEVICES, Config
from minisd.runs.presets import PRESETS
from minisd.runs.run import MACHINE_SETTINGS
from minisd.version import __version__

_TRAIN_EPILOG = """\
examples:
  minisd train                             the bundled digits, under a minute
  minisd train --preset cifar10            the paper's CIFAR-10, days on a CPU
  minisd train --data cifar10 --limit 2000 --epochs 2 --depth 8  a quick look
  minisd train --data mine.npz             images of your own, or a folder
  minisd train --survival constant         the same network at constant depth
  minisd train --survival my_rules.py:rule a rule of yours; or 0.9,0.8,0.7
  minisd train --config a.json --lr 0.05   settings of a file, or of another run
  minisd train --init runs/a --epochs 10   start from the weights of a run
  minisd train --seeds 1 2 3               a run each; mean and spread
  minisd train --processes 2               one run, every mini-batch shared
  minisd train --resume runs/digits-1      continue where a run stopped
  minisd train --resume runs/a --epochs 40 let it go on longer

Ctrl-C finishes the step, saves, and prints the command that resumes the run.
The result is the test error at the epoch of lowest validation error. The
lowest test error is never reported as the result.

images of your own:
  mine.npz   images, uint8 (N, C, H, W), (N, H, W, C) or (N, H, W), and labels
             from 0; or train_images, train_labels, test_images, test_labels,
             and val_images, val_labels if there are any
  FOLDER     a folder for each class: FOLDER/cat/1.png, FOLDER/dog/7.jpg (needs
             Pillow); or FOLDER/train, FOLDER/test and FOLDER/val with these
One set is split 80/10/10, class by class, by the seed; parts are taken as they
are. If the data was moved, give its new place to --resume with --data.

presets ('minisd train --preset NAME --help' shows the settings of one; without
--preset, --data NAME takes the preset NAME-laptop, and --data PATH own):
"""


_EXPERIMENT_EPILOG = """\
examples:
  minisd experiment gradients --out quick --quick  within 30 seconds
  minisd experiment gradients --out digits         ten minutes on two cores
  minisd experiment lesion --out study --data cifar10 --data-dir data
  minisd experiment all --out digits               all of those below
  minisd experiment survival --list                for a cluster: its trainings
  minisd experiment survival --scheduler node1:8786   on the workers of Dask

Experiments with the same --out share the training runs that they have in
common. Ctrl-C saves everything, and the same command continues. Each writes
NAME.png, NAME.svg and NAME.csv. If an experiment is complete, the same command
with another --style, or with --pdf, only draws the figure again.

experiments:
"""


def _path(text: str) -> Path:
    """Return a path; ``~`` is the home folder also in --out=~/x, where a shell leaves it."""
    return Path(os.path.expanduser(text))


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; the options of ``train`` are the fields of `Config`."""
    parser = Parser(
        prog="minisd",
        description="Deep Networks with Stochastic Depth, from scratch in NumPy.",
        epilog="'minisd COMMAND --help' lists the options of a command.\n\n"
        + (__doc__ or "").partition("\n\n")[2],
    )
    parser.add_argument("--version", action="version", version=f"minisd {__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(command=partial(commands.print_help, parser))
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
    add_settings(
        sub.add_argument_group("settings that may differ from the run's own"),
        (*MACHINE_SETTINGS, "data"),
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


def _add(parsers: Any, command: Any, summary: str, **options: Any) -> Parser:
    options.setdefault("description", (command.__doc__ or "").partition("\n")[0])
    parser = parsers.add_parser(
        command.__name__.replace("_", "-"),
        help=summary,
        **options,
    )
    parser.set_defaults(command=command)
    return typing.cast(Parser, parser)


def _add_train(parsers: Any) -> None:
    presets = "".join(f"  {name:23}  {what}\n" for name, (what, _) in PRESETS.items())
    sub = _add(
        parsers,
        training.train,
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
    sub.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="share every mini-batch among N processes, over MPI (extra 'mpich')",
    )
    sub.add_argument("--quiet", action="store_true", help="print errors only")
    sub.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    group = sub.add_argument_group()
    actions = add_settings(group, [setting.name for setting in dataclasses.fields(Config)])
    sub.before_help = partial(show_defaults, group, actions)
    show_defaults(group, actions, [])


def _add_experiment(parsers: Any) -> None:
    chosen_by = {
        "quick": "with --quick",
        "digits": "by default",
        "laptop": "with another --data",
        "paper": "with --paper (CIFAR-10, or --data: its preset of 'minisd train')",
    }
    sizes = "\nsizes:\n" + "".join(
        f"  {chosen_by[scale]}: "
        + ", ".join(f"{key} {shown(v)}" for key, v in settings.items())
        + "\n"
        for scale, settings in SIZES.items()
    )
    names = "".join(f"  {name:19}  {module.SUMMARY}\n" for name, module in EXPERIMENTS.items())
    names += f"  {commands.ALL:19}  each of these in turn\n"
    sub = _add(
        parsers,
        commands.experiment,
        "repeat the paper's analysis, and extend it",
        epilog=_EXPERIMENT_EPILOG + names + sizes,
        argument_default=argparse.SUPPRESS,
    )
    sub.add_argument(
        "name", nargs="?", choices=(*EXPERIMENTS, commands.ALL), metavar="NAME", default=None,
        help="one of those below, or all; without a name, they are listed",
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
    sub.add_argument(
        "--scheduler", metavar="ADDRESS", default=None,
        help="let the workers of a Dask scheduler train, such as tcp://node1:8786",
    )  # fmt: skip
    sub.add_argument(
        "--list", action="store_const", dest="command", const=sweep.list_trainings,
        help="only print the commands of the trainings that are left, one a line",
    )  # fmt: skip
    sub.add_argument(
        "--style", choices=tuple(STYLES), default="screen",
        help="how figures are drawn; paper: a page wide, with (a), (b) instead of a title",
    )  # fmt: skip
    sub.add_argument("--pdf", action="store_true", default=False, help="write NAME.pdf, too")
    sub.add_argument("--quiet", action="store_true", default=False, help="print errors only")
    sub.add_argument(
        "--limit", type=_number_or_all, metavar="N",
        help="use the first N training images only, or 'all'",
    )  # fmt: skip
    group = sub.add_argument_group("settings of the networks, instead of those of the size")
    add_settings(group, [name for name in SETTINGS if name != "limit"])


def _number_or_all(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'all'") from None
