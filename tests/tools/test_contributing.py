"""What is said to those who contribute or cite: files, commands, names and versions are real."""

import re
import tomllib

import pytest

import minisd
from minisd.cli import make_parser
from minisd.version import __version__
from wheels import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_files_and_tests_that_it_names_are_there():
    named = set(re.findall(r"`([\w./]+\.(?:py|md))`", TEXT))
    own = {path for path in named if re.search("NN_name|my_exp|a2.py", path)}
    assert len(named - own) >= 20
    for path in named - own:
        beside = [ROOT / path, *(ROOT / "tutorials" / "course").glob(f"a?_*/{path}")]
        assert any(place.exists() for place in beside), path
    for folder in re.findall(r"`(minisd/[\w/]+/)`", TEXT):
        assert (ROOT / folder).is_dir(), folder
    (test,) = re.findall(r"`(test_where_[a-z_\s]+)`", TEXT)
    assert f"def {test}(" in (ROOT / "tests/editions/test_by_name.py").read_text(encoding="utf-8")


def test_the_commands_that_it_names_parse():
    found = re.findall(r"`minisd ([a-z][^`]*)`", TEXT)
    assert len(found) >= 5
    for command in found:
        make_parser().parse_args(command.split())


def test_what_it_promises_to_keep_is_there():
    promised = {  # of version 0.1: names may be added, and are not taken away
        "SGD", "BatchNorm2d", "Conv2d", "ConvChain", "FusedBlock", "GlobalAvgPool", "Layer",
        "Linear", "Parameter", "ReLU", "ResNet", "ResidualBlock", "Sequential", "StepSchedule",
        "__version__", "depth_distribution", "draw_gates", "expected_depth", "flow", "fuse",
        "linear_decay", "one_by_one", "ops", "resnet", "set_gates", "set_threads", "uniform",
    }  # fmt: skip
    assert promised <= set(minisd.__all__)
    assert all(hasattr(minisd, name) for name in minisd.__all__)


def test_the_citation_is_of_this_version_and_names_the_paper():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cited.keys()  # what the format asks for
    assert cited["version"] == __version__
    (paper,) = cited["references"]
    assert paper["title"] == "Deep Networks with Stochastic Depth"
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Huang", "Sun", "Liu", "Sedra", "Weinberger"]
    assert {"type": "other", "value": "arXiv:1603.09382"} in paper["identifiers"]


def test_the_sdist_has_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"CITATION.cff", "CONTRIBUTING.md"} <= set(included)
    assert all((ROOT / path).exists() for path in included)
    assert project["project"]["license"] == "MIT"
