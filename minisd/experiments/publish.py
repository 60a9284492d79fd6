"""The result of an experiment, and its files: CSV, PNG, SVG and PDF, with a caption."""

import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import methodcaller
from pathlib import Path
from typing import Any

from minisd.errors import RunFolderError
from minisd.experiments.drawing import for_paper
from minisd.experiments.study import Study
from minisd.figures import own_style
from minisd.files import check_ours, write_atomically
from minisd.terminal import columns, wrapped

KINDS = ("csv", "png", "svg", "pdf")
DPI = {"screen": 140, "paper": 300}
"""Dots per inch of a PNG, by style."""


@dataclass
class Result:
    """The result of an experiment.

    Attributes
    ----------
    draw : function without arguments
        Returns the matplotlib figure.
    rows : list of dict
        The numbers in the figure. Each is one line of the CSV.
    caption : str
        What the figure shows. Data, depth, seeds and command are added to it.
    depths : sequence of int, optional
        The depths in the figure, if not the study's own.
    data : bool
        Whether the data set was used.
    alt : str
        What there is to see, for somebody who cannot see it: kinds of charts, axes, and curves.
    """

    draw: Callable[[], Any]
    rows: list[dict[str, Any]]
    caption: str
    depths: Sequence[int] = ()
    data: bool = True
    alt: str = ""

    @cached_property
    def figure(self) -> Any:
        """The matplotlib figure, for a screen."""
        with own_style():
            return self.draw()


def place(study: Study, words: str, letters: str) -> str:
    """Return how a caption names panels: in words, or by their letters in a figure for a paper."""
    return letters if study.style == "paper" else words


def whole_caption(study: Study, experiment: str, result: Result) -> str:
    """Return the caption with data, depth, seeds, missing runs, and the command."""

    def named(what: str, values: Sequence[int]) -> str:
        return f"{what}{'s' if len(values) > 1 else ''} {', '.join(map(str, values))}"

    config = study.config("constant", 1.0, study.seeds[0])
    images = f", {study.training_images:,} training images" if study.training_images else ""
    data = config.data_name + (images if result.data else " (not used)")
    parts = [
        result.caption,
        f"Settings {study.identity()}.",
        f"Data: {data}; {named('depth', result.depths or [config.depth])};",
        f"{named('seed', study.seeds)}.",
    ]
    if study.failures:
        parts.append(f"Missing, because they failed: {', '.join(study.failures)}.")
    return " ".join([*parts, f"Made by: {study.command(experiment)}"])


def is_ours(content: bytes) -> bool:
    """Whether a figure or a table was published by an experiment: it has the command inside."""
    return b"Made by: minisd experiment " in content


def check_same_study(study: Study, experiment: str) -> None:
    """Raise an error if the figure or the numbers of another study, or of more seeds, are there.

    Raises
    ------
    RunFolderError
        The files of one study are never replaced by those of another.
    FileExistsError
        If there is a file of the same name that minisd did not write.
    """
    for kind in KINDS:
        path = study.out / f"{experiment}.{kind}"
        check_ours(path, is_ours)
        if not path.exists():
            continue
        caption = path.read_bytes().decode(errors="replace")
        found = re.search(r" Settings (\w+)\. Data: .*; seeds? ([\d, ]+)\.", caption)
        made_by = re.search(r"Made by: (minisd [^\n\0<]*) --out DIR", caption)
        command = made_by[1] if made_by else "another command"
        if found:
            fits = set(found[2].split(", ")) <= {str(seed) for seed in study.seeds}
            fits &= found[1] == study.identity()
        else:  # of an earlier version of minisd
            fits = f"{command} --out DIR" == study.command(experiment)
        if not fits:
            raise RunFolderError(
                f"{path} is of another study, with other settings or more seeds ({command}): "
                "choose another --out"
            )


def publish(study: Study, experiment: str, result: Result) -> list[Path]:
    """Write numbers (CSV) and figure (PNG, SVG, and PDF if the study wants it); print the caption.

    Each file has the whole caption in it. A figure that cannot be drawn does not cost the numbers.

    Returns
    -------
    list of path
        The files that were written.
    """
    caption = whole_caption(study, experiment, result)
    check_same_study(study, experiment)
    table = io.StringIO()
    table.write(f"# {caption}\n")
    writer = csv.DictWriter(table, list(result.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.rows)
    contents = {"csv": table.getvalue().encode()}
    try:
        contents |= pictures(experiment, result, caption, study.style, study.pdf)
    except Exception as error:  # matplotlib's settings are the user's, and need TeX or a backend
        name = study.out / f"{experiment}.png"
        print(f"minisd: {name} was not drawn: {type(error).__name__}: {error}", file=sys.stderr)
    paths = []
    for kind, content in contents.items():
        path = study.out / f"{experiment}.{kind}"
        write_atomically(path, methodcaller("write", content), is_ours=is_ours)
        paths.append(path)
    if not study.quiet:
        print(for_terminal(caption))
        print(*(f"files  {paths[0]}", *paths[1:]), sep="\n       ")
    return paths


def for_terminal(caption: str) -> str:
    """Return a caption in lines that fit the terminal. The command can be copied as it is."""
    text, _, command = caption.partition(" Made by: ")
    command = f"Made by: {command}"
    if "'" not in command:  # nothing quoted, which may not be broken
        command = wrapped(command, columns() - 4).replace("\n", " \\\n  ")
    return f"{wrapped(text)}\n{command}"


def pictures(
    experiment: str, result: Result, caption: str, style: str = "screen", pdf: bool = False
) -> dict[str, bytes]:
    """Return the figure as PNG, SVG and perhaps PDF, with caption and alternative text inside.

    Both are in the metadata: the caption is the description (in a PDF: the subject), and the
    alternative text is the title.
    """
    import matplotlib as mpl

    alt = result.alt or experiment
    metadata = {
        "png": {"Title": alt, "Description": caption, "Software": "minisd"},
        "svg": {"Title": alt, "Description": caption, "Date": None, "Creator": "minisd"},
        "pdf": {"Title": alt, "Subject": caption, "CreationDate": None, "Creator": "minisd"},
    }
    contents = {}
    with own_style(style):
        mpl.rcParams["svg.hashsalt"] = experiment
        figure = result.draw()
        if style == "paper":
            for_paper(figure)
        for kind in ("png", "svg", "pdf") if pdf else ("png", "svg"):
            picture = io.BytesIO()
            figure.savefig(picture, format=kind, dpi=DPI[style], metadata=metadata[kind])
            contents[kind] = picture.getvalue()
    return contents
