"""``napari-graydet export``: ground truth as files."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from napari_graydet.cli.boundary import Result, complain
from napari_graydet.cli.options import Debug, Json, Project
from napari_graydet.cli.progress import progress_bar
from napari_graydet.cli.project import opened


class Format(enum.StrEnum):
    """What to write."""

    MASKS = "masks"
    YOLO = "yolo"
    JSON = "json"
    ALL = "all"


def export(
    project: Project,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="New folder for the export.")
    ],
    formats: Annotated[
        list[Format], typer.Option("--format", help="What to write; again for more.")
    ] = [Format.ALL],  # noqa: B006 - typer reads the default, nobody changes it
    seed: Annotated[int, typer.Option(help="Of YOLO's split into training and validation.")] = 0,
    anonymous: Annotated[
        bool,
        typer.Option("--anonymous", help="Number the images, if their names tell of patients."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Export accepted images: masks, YOLO data set, records.

    Everything is written or nothing is. An earlier export in DIR is replaced.
    """
    from napari_graydet.workflows.export import export_project

    chosen = [one.value for one in formats]
    with opened(project) as store, progress_bar("Exporting") as show:
        report = export_project(
            store, out, chosen, on_progress=show, seed=seed, anonymous=anonymous
        )
    for notice in report.notices:
        complain(notice)
    document = {
        "out": str(report.out),
        "images": report.images,
        "empty": report.empty,
        "formats": list(report.formats),
        "classes": list(report.classes),
        "train": report.train,
        "val": report.val,
        "notices": list(report.notices),
    }
    split = f", YOLO {report.train} train and {report.val} val" if "yolo" in report.formats else ""
    text = (
        f"{report.images} accepted images ({report.empty} with nothing in them) in "
        f"{report.out}: {', '.join(report.formats)}{split}."
    )
    return Result(document, text)
