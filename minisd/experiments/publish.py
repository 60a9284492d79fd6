"""The result of an experiment, and its files: PNG, SVG and CSV, with a caption."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisd.experiments.study import Study
from minisd.files import write_atomically


@dataclass
class Result:
    """The result of an experiment.

    Attributes
    ----------
    figure : matplotlib Figure
    rows : list of dict
        The numbers in the figure. Each is one line of the CSV.
    caption : str
        What the figure shows. Data, depth, seeds and command are added to it.
    depths, seeds : sequence of int, optional
        The depths and seeds in the figure, if not the study's own.
    data : bool
        Whether the data set was used.
    """

    figure: Any
    rows: list[dict[str, Any]]
    caption: str
    depths: Sequence[int] = ()
    seeds: Sequence[int] = ()
    data: bool = True


def whole_caption(study: Study, experiment: str, result: Result) -> str:
    """Return the caption with data, depth, seeds, missing runs, and the command."""

    def named(what: str, values: Sequence[int]) -> str:
        return f"{what}{'s' if len(values) > 1 else ''} {', '.join(map(str, values))}"

    config = study.config("constant", 1.0, study.seeds[0])
    images = f", {study.training_images:,} training images" if study.training_images else ""
    data = config.data + (images if result.data else " (not used)")
    parts = [
        result.caption,
        f"Data: {data}; {named('depth', result.depths or [config.depth])};",
        f"{named('seed', result.seeds or study.seeds)}.",
    ]
    if study.failures:
        parts.append(f"Missing, because they failed: {', '.join(study.failures)}.")
    return " ".join([*parts, f"Made by: {study.command(experiment)}"])


def publish(study: Study, experiment: str, result: Result) -> list[Path]:
    """Write figure (PNG, SVG) and numbers (CSV), each with the whole caption; print the caption."""
    import matplotlib as mpl

    caption = whole_caption(study, experiment, result)
    table = io.StringIO()
    table.write(f"# {caption}\n")
    writer = csv.DictWriter(table, list(result.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.rows)
    contents = {"csv": table.getvalue().encode()}
    for kind, metadata in (
        ("png", {"Description": caption, "Software": "minisd"}),
        ("svg", {"Description": caption, "Date": None, "Creator": "minisd"}),
    ):
        picture = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": experiment}):
            result.figure.savefig(picture, format=kind, dpi=140, metadata=metadata)
        contents[kind] = picture.getvalue()
    study.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, content in contents.items():
        path = study.out / f"{experiment}.{kind}"
        write_atomically(path, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        paths.append(path)
    if not study.quiet:
        print(caption)
        print("files  " + "  ".join(map(str, paths)))
    return paths
