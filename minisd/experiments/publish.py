"""The result of an experiment, and its files: PNG, SVG and CSV, with a caption."""

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
from minisd.experiments.study import Study
from minisd.files import check_ours, write_atomically
from minisd.terminal import wrapped

KINDS = ("csv", "png", "svg")


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
    """

    draw: Callable[[], Any]
    rows: list[dict[str, Any]]
    caption: str
    depths: Sequence[int] = ()
    data: bool = True

    @cached_property
    def figure(self) -> Any:
        """The matplotlib figure."""
        return self.draw()


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
    """Write numbers (CSV) and figure (PNG, SVG), each with the whole caption; print the caption.

    A figure that cannot be drawn does not cost the numbers.

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
        contents |= pictures(experiment, result, caption)
    except Exception as error:  # matplotlib's settings are the user's, and need TeX or a backend
        name = study.out / f"{experiment}.png"
        print(f"minisd: {name} was not drawn: {type(error).__name__}: {error}", file=sys.stderr)
    paths = []
    for kind, content in contents.items():
        path = study.out / f"{experiment}.{kind}"
        write_atomically(path, methodcaller("write", content), is_ours=is_ours)
        paths.append(path)
    if not study.quiet:
        print(wrapped(caption))
        print(wrapped("files  " + "  ".join(map(str, paths))))
    return paths


def pictures(experiment: str, result: Result, caption: str) -> dict[str, bytes]:
    """Return the figure as PNG and SVG, with the caption in their metadata."""
    import matplotlib as mpl

    contents = {}
    for kind, metadata in (
        ("png", {"Description": caption, "Software": "minisd"}),
        ("svg", {"Description": caption, "Date": None, "Creator": "minisd"}),
    ):
        picture = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": experiment}):
            result.figure.savefig(picture, format=kind, dpi=140, metadata=metadata)
        contents[kind] = picture.getvalue()
    return contents
