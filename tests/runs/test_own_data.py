"""Runs on images of one's own: found again, split again, and recognised when they were moved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisd.cli import main
from minisd.data import load
from minisd.data.by_class import tenths
from minisd.errors import ConfigError, DataError
from minisd.experiments.study import Study
from minisd.runs.config import resolve
from minisd.runs.run import Run
from minisd.runs.session import read_settings


def save(path: Path, seed: int = 0, size: int = 8) -> Path:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (60, size, size), np.uint8)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, images=images, labels=np.arange(60) % 3)
    return path


def made(settings: dict[str, Any]) -> Run:
    return Run(resolve({"depth": 8, "width": 2, "threads": 1, **settings}))


SMALL = ["--depth", "8", "--width", "2", "--threads", "1", "--quiet"]


def test_a_run_on_a_file_resumes_and_is_tested_wherever_the_file_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "mine.npz")
    assert main(["train", "--data", "mine.npz", "--epochs", "1", *SMALL]) == 0
    run = tmp_path / "runs" / "mine-1"  # named by the data
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == str(tmp_path / "mine.npz")
    assert (config["preset"], config["p_last"], config["flip"]) == ("own", 0.9, False)
    assert config["resolved"]["num_classes"] == 3
    assert "class_names" not in config["resolved"]  # a file has none
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", str(run)]) == 0
    before = capsys.readouterr().out
    assert "ResNet-8 on mine" in before

    moved = tmp_path / "elsewhere" / "moved.npz"
    (tmp_path / "mine.npz").rename(moved)
    assert main(["evaluate", str(run)]) == 2
    assert "if the data was moved, --resume and evaluate take its new" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--data", "moved.npz"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == before.splitlines()[-1]
    assert main(["train", "--resume", str(run), "--data", "moved.npz", "--quiet"]) == 0
    assert json.loads((run / "config.json").read_text())["data"] == str(moved)
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()

    save(moved, seed=1)
    assert main(["evaluate", str(run)]) == 2
    assert "give the place of the original data with --data" in capsys.readouterr().err


def test_the_split_is_that_of_the_seed_and_the_same_each_time(tmp_path):
    path = str(save(tmp_path / "mine.npz"))
    runs = [made({"data": path, "seed": seed}) for seed in (2, 2, 3)]
    assert runs[0].digest == runs[1].digest != runs[2].digest
    assert runs[0].digest == load(path, seed=2).digest()
    assert [len(s) for s in (runs[0].train, runs[0].validation, runs[0].test)] == [48, 6, 6]
    assert len(made({"data": path, "limit": 30}).train) == 30


def test_the_split_draws_from_the_stream_of_the_validation_split(tmp_path):
    """The second of the four that the seed gives: another stream would be another split."""
    path = save(tmp_path / "mine.npz")
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    second = np.random.default_rng(np.random.SeedSequence(7).spawn(4)[1])
    expected = tenths(labels, 2, second, of="")
    for found in (made({"data": str(path), "seed": 7}), load(path, seed=7)):
        parts = (found.train, found.test, found.validation)
        for part, index in zip(parts, expected, strict=True):
            assert (part.images[:, 0] == images[index]).all()
            assert (part.labels == labels[index]).all()

    parts = {"train_images": images, "train_labels": labels}
    np.savez(path, **parts, test_images=images[:6], test_labels=labels[:6])
    second = np.random.default_rng(np.random.SeedSequence(7).spawn(4)[1])
    kept, tenth = tenths(labels, 1, second, of="")
    run = made({"data": str(path), "seed": 7})
    assert (run.train.images[:, 0] == images[kept]).all()
    assert (run.validation.images[:, 0] == images[tenth]).all()


def test_a_folder_s_class_names_are_saved(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    resolved = made({"data": str(tmp_path / "photos")}).describe()["resolved"]
    assert resolved["class_names"] == ["cat", "dog"]
    assert resolved["image_shape"] == [3, 8, 8]


def test_names_come_before_folders_of_the_same_name(tmp_path, monkeypatch):
    """But a `Path` is always that of a file or folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert resolve({"data": "digits"}).data == "digits"
    assert resolve({"data": "./digits"}).data == str(tmp_path / "digits")
    with pytest.raises(DataError, match="digits has no folder in it"):
        load(Path("digits"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve({"data": "~/x.npz"}).data == str(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"data": "cifra10"}, "did you mean 'cifar10'.*path of an .npz file"),
        ({"data": "x.npz", "data_dir": "y"}, "leave out --data-dir"),
        ({"data": "x.npz", "coarse": True}, "only CIFAR-100"),
    ],
)
def test_settings_that_do_not_fit(settings, says):
    with pytest.raises(ConfigError, match=says):
        resolve(settings)


def test_data_cannot_become_other_data(tmp_path, capsys):
    """A path may change into another path, whose images are compared; a name never."""
    save(tmp_path / "mine.npz")
    (tmp_path / "config.json").write_text('{"data": "digits", "versions": {}}')
    with pytest.raises(ConfigError, match="data is digits in this run and cannot become"):
        read_settings(tmp_path, {"data": str(tmp_path / "mine.npz")})
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data", "CIFAR10"])
    assert "unknown --data 'CIFAR10'; did you mean 'cifar10'?" in capsys.readouterr().err
    assert main(["train", "--preset", "own"]) == 2
    assert "add --data PATH" in capsys.readouterr().err


def test_images_of_an_odd_size_are_told_of_other_shortcuts(tmp_path):
    settings = {"data": str(save(tmp_path / "mine.npz", size=10))}
    with pytest.raises(ConfigError, match=r"10x10 pixels cannot be halved twice.*'projection'"):
        made(settings)
    assert made({**settings, "shortcut": "projection"}).image_shape == (1, 10, 10)


@pytest.mark.slow
def test_a_study_on_own_images(tmp_path):
    path = save(tmp_path / "in" / "mine.npz")
    study = Study(tmp_path, data=str(path), depth=8, width=2, epochs=1, quiet=True, processes=1)
    (trained,) = study.runs([("linear", 0.5)])
    assert trained.folder.name == "mine-8-linear-0.5-seed1"
