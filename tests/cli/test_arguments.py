"""Arguments: what is refused, in which words, and help that fits the terminal."""

import argparse

import pytest

from minisd.cli import commands, main, make_parser
from minisd.cli.arguments import Parser
from minisd.experiments import publish
from minisd.experiments.catalogue import EXPERIMENTS
from minisd.experiments.study import Study
from minisd.gradcheck import Report, Slope
from minisd.runs.presets import PRESETS
from minisd.terminal import WIDEST, columns, wrapped

REFUSED = {
    "trian": "unknown command 'trian'; did you mean 'train'?",
    "xyz": "unknown command 'xyz'; there are train, ",
    "course grde a1": "unknown action 'grde'; did you mean 'grade'?",
    "course grade a1 . --requier 1": "unknown option --requier; did you mean --require?",
    "--versoin": "unknown option --versoin; did you mean --version?",
    "train --dpeth 20": "unknown option --dpeth; did you mean --depth?",
    "train --batch_size=20": "unknown option --batch_size; did you mean --batch-size?",
    "train -depth 20": "unknown option -depth; did you mean --depth?",
    "train --no-filp": "unknown option --no-filp; did you mean --no-flip?",
    "train --bogus": "unknown option --bogus; see 'minisd train --help'",
    # hidden options are no guesses
    "train --end-with-parents": "unknown option --end-with-parents; see 'minisd train --help'",
    # the value of a misspelt option is not taken for the argument in front of it
    "experiment --otu x gradients": "unknown option --otu; did you mean --out?",
    "evaluate --whcih last": "unknown option --whcih; did you mean --which?",
    "experiment gradient": "unknown name 'gradient'; did you mean 'gradients'?",
    "experiment learning_curve": "unknown name 'learning_curve'; did you mean 'learning-curves'?",
    "train --survival lineer": "unknown --survival 'lineer'; did you mean 'linear'?",
    "train --survival random": "unknown --survival 'random'; there are linear, uniform, constant",
    "train --device CPU": "unknown --device 'CPU'; did you mean 'cpu'?",
    "data get mnist": "unknown name 'mnist'; there are digits, cifar10, cifar100, svhn",
    "course check a1 --hint 4": "unknown --hint 4; there are 1, 2, 3",
    "train --depth deep": "--depth: 'deep' is not a whole number; see 'minisd train --help'",
    "train --lr fast": "--lr: 'fast' is not a number; see 'minisd train --help'",
    "train --lr": "--lr: expected one argument; see 'minisd train --help'",
    "evaluate": "the following arguments are required: RUN; see 'minisd evaluate --help'",
    "info now": "too many arguments: now; see 'minisd info --help'",
    "train --depht\x1b[2J": "unknown option --depht [2J",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_wrong_argument_is_one_sentence_with_a_guess(line, capsys):
    with pytest.raises(SystemExit) as ended:
        main(line.split(" "))
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"minisd: {REFUSED[line]}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["train", "--lr=-1"], "lr", -1.0),
        (["train", "--lr", "-1"], "lr", -1.0),
        (["train", "--epoch", "3"], "epochs", 3),  # an abbreviation that means one option only
        (["train", "--drops", "2", "3", "--seed", "4"], "drops", [2.0, 3.0]),
        (["train", "--checkpoint-every", "2"], "checkpoint_every", 2),
        (["evaluate", "--which", "last", "--", "--run"], "run", "--run"),
        (["course", "new", "a1", "-"], "folder", "-"),
    ],
)
def test_what_is_right_is_not_refused(arguments, name, value):
    parsed = getattr(make_parser().parse_args(arguments), name)
    assert (parsed if isinstance(value, float | int | list) else str(parsed)) == value


@pytest.mark.parametrize("command", ["", "course"])
def test_a_command_alone_prints_its_help(command, capsys):
    assert main(command.split()) == 0
    alone = capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert alone == capsys.readouterr()
    assert alone.out.startswith(f"usage: minisd {command}")


def parsers(parser, arguments=()):
    """Every parser of the command with the arguments that lead to it."""
    yield parser, arguments
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from parsers(inner, (*arguments, name))


def test_every_help_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = list(parsers(make_parser()))
    assert len(found) > 20
    for parser, arguments in found:
        assert isinstance(parser, Parser)
        for line in parser.format_help().splitlines():
            assert len(line) <= 80, (arguments, line)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_help_of_every_preset_fits(preset, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["train", "--preset", preset, "--help"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert f"as preset {preset} has it" in out


@pytest.mark.parametrize("line", ["info", "data", "course list", "tutorials list", "gradcheck"])
def test_what_is_listed_fits_the_terminal(line, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    long_name = Report(
        "a chain of five " + "convolutions " * 9, 4, slopes=[Slope("w", (0,), 2.0, 2.0, 0.0)]
    )
    monkeypatch.setattr(commands, "all_checks", lambda seed, device: iter([long_name]))
    main(line.split())
    out = capsys.readouterr().out
    assert out
    assert max(map(len, out.splitlines())) <= 80


def test_a_printed_caption_is_broken_and_a_saved_one_is_not(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(publish, "pictures", lambda *_: {})
    result = publish.Result(
        lambda: None, [{"x": 1}], "Fig. 9: " + "many words " * 40 + "end", data=False
    )
    publish.publish(Study(tmp_path, size="quick"), "depth-distribution", result)
    printed = capsys.readouterr().out.replace(str(tmp_path), "")
    assert max(map(len, printed.splitlines())) <= 80
    saved = (tmp_path / "depth-distribution.csv").read_text().splitlines()
    assert saved[1:] == ["x", "1"]
    assert " ".join(printed.partition("\nfiles")[0].split()) == saved[0].removeprefix("# ")


def test_commands_and_their_summaries_stand_in_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = make_parser().format_help().splitlines()
    for name in ("train", "gpu-check", "experiment"):
        assert len([line for line in lines if line.startswith(f"    {name}  ")]) == 1


def test_the_help_names_every_experiment(capsys):
    with pytest.raises(SystemExit):
        main(["experiment", "--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in EXPERIMENTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("short  line", "short  line"),
        ("depth  L = 9 blocks, all", "depth  L = 9\n       blocks,\n       all"),
        ("  id  what it now is", "  id  what it\n      now is"),
        ("one two three four five", "one two three\nfour five"),
        ("run  /a/very/long/path-with-hyphens", "run\n     /a/very/long/path-with-hyphens"),
        ("two lines\n\nand an empty one between", "two lines\n\nand an empty\none between"),
    ],
)  # fmt: skip
def test_lines_are_broken_at_words(text, expected):
    assert wrapped(text, 15) == expected


def test_a_wide_terminal_does_not_make_long_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert columns() == WIDEST
    monkeypatch.setenv("COLUMNS", "72")
    assert columns() == 72
