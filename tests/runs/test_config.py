"""The presets are the paper's, and a setting is declared in one place."""

import dataclasses
import re

import pytest

from minisd.cli import make_parser
from minisd.errors import ConfigError
from minisd.runs.config import DATA_SETS, Config, resolve
from minisd.runs.presets import DEFAULT_PRESET, PRESETS

PAPER = {  # preset: data, L, epochs, p_L, shift, flip, epochs of (0.1, 0.01, 0.001) to look at
    "cifar10": ("cifar10", 54, 500, 0.5, 4, True, (250, 251, 376)),
    "cifar10-plain": ("cifar10", 54, 500, 0.5, 0, False, (250, 251, 376)),
    "cifar100": ("cifar100", 54, 500, 0.5, 4, True, (250, 251, 376)),
    "cifar100-plain": ("cifar100", 54, 500, 0.5, 0, False, (250, 251, 376)),
    "svhn": ("svhn", 75, 50, 0.5, 0, False, (30, 31, 36)),
    "cifar10-1202": ("cifar10", 600, 300, 0.5, 4, True, (150, 151, 226)),
}


@pytest.mark.parametrize(
    ("options", "depth"),
    [({}, 8), ({"branch": "bottleneck"}, 11), ({"preset": "cifar10"}, 8), ({"depth": 8}, 8)],
)
def test_probabilities_decide_the_depth(options, depth):
    assert resolve({"survival": (0.9, 0.8, 0.7), **options}).depth == depth


@pytest.mark.parametrize(
    "options", [{"survival": (0.9,) * 4}, {"survival": (0.9,) * 3, "depth": 20}]
)
def test_probabilities_that_fit_no_network(options):
    with pytest.raises(ConfigError, match=r"fit no network|9 blocks"):
        resolve(options)


@pytest.mark.parametrize("name", PAPER)
def test_presets_are_the_papers_settings(name):
    data, L, epochs, p_last, max_shift, flip, rates_at = PAPER[name]
    config = resolve({"preset": name})
    assert (config.data, config.num_blocks, config.epochs) == (data, L, epochs)
    assert (config.max_shift, config.flip) == (max_shift, flip)
    assert config.survival == "linear"
    assert config.survival_probs[-1] == p_last
    assert (config.batch_size, config.momentum, config.weight_decay) == (128, 0.9, 1e-4)
    assert (config.shortcut, config.scale, config.dropped) == ("A", "test", "coast")
    assert [config.rates(epoch) for epoch in rates_at] == [0.1, 0.01, 0.001]
    assert config.validate_every == (200 if data == "svhn" else None)


@pytest.mark.parametrize("name", PAPER)
def test_every_row_has_its_constant_depth_twin(name):
    constant = resolve({"preset": f"{name}-constant"})
    assert set(constant.survival_probs) == {1.0}
    twin = dataclasses.replace(constant, preset=name, survival="linear")
    assert twin == resolve({"preset": name})


def test_the_1202_layer_network_warms_up():
    schedule = resolve({"preset": "cifar10-1202"}).rates
    assert [schedule(epoch) for epoch in (1, 10, 11)] == [0.01, 0.01, 0.1]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves(name):
    assert resolve({"preset": name}).preset == name


@pytest.mark.parametrize("data", DATA_SETS)
def test_a_data_set_alone_brings_its_laptop_preset(data):
    config = resolve({"data": data})
    assert config.preset == DEFAULT_PRESET[data]
    assert config.data == data
    assert config.depth <= 20


def test_options_override_the_preset():
    config = resolve({"preset": "cifar10", "depth": 56, "p_last": 0.8, "drops": [10, 20]})
    assert (config.depth, config.p_last, config.epochs) == (56, 0.8, 500)
    assert config.drops == (10, 20)


def test_the_command_has_an_option_for_every_setting(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["train", "--help"])
    text = capsys.readouterr().out
    for setting in dataclasses.fields(Config):
        assert "--" + setting.name.replace("_", "-") in text
    for preset in PRESETS:
        assert preset in text


OF_DIGITS = {"p-last X": "0.9", "max-shift N": "1", "lr X": "0.05", "flip, --no-flip": "off"}
OF_CIFAR = {"p-last X": "0.5", "max-shift N": "4", "lr X": "0.1", "flip, --no-flip": "on"}
OF_SVHN = {"preset NAME": "svhn", "depth N": "152", "drops [E ...]": "30 35", "momentum X": "0.9"}
OF_LAPTOP = {"preset NAME": "svhn-laptop", "data-dir DIR": "data", "epochs N": "10"}


@pytest.mark.parametrize(
    ("arguments", "preset", "defaults"),
    [
        (["--help"], "digits", OF_DIGITS),
        (["--lr", "3", "--help"], "digits", OF_DIGITS),
        (["--preset", "cifar10", "--help"], "cifar10", OF_CIFAR),
        (["--help", "--preset=cifar10", "--depth", "8"], "cifar10", OF_CIFAR),
        (["--data", "cifar10", "-h", "--preset", "svhn"], "svhn", OF_SVHN),
        (["--data", "svhn", "--help"], "svhn-laptop", OF_LAPTOP),
    ],
)
def test_the_defaults_in_the_help_are_those_of_the_preset(arguments, preset, defaults, capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["train", *arguments])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"settings (default in brackets, as preset {preset} has it)" in text
    for option, default in defaults.items():
        assert re.search(rf" --{re.escape(option)} [^\[]*\[{default}\]", text), option


def test_the_help_of_an_unknown_preset_is_a_sentence(capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["train", "--help", "--preset", "cifar1O"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == "minisd: unknown preset 'cifar1O'; did you mean 'cifar10'?\n"
