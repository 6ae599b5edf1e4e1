"""``napari-graydet init``: make a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_graydet.cli.boundary import Result
from napari_graydet.cli.options import Debug, Json, names


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the project.", show_default=False)
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images; default: the project's own.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str, typer.Option(help="Names with commas between; their order is the class ids.")
    ] = "bone,lung",
    patients: Annotated[
        str | None,
        typer.Option(
            metavar="CSV|REGEX",
            help="Who is on which image: a CSV file of image and patient, or a regular expression "
            "with one group, as '([^_]+)_', looked for in file names without their ending. The "
            "project keeps it; default: each image another patient.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Make a project of a folder of images.

    The images are only read, never changed.
    """
    from napari_graydet.project.patients import people
    from napari_graydet.project.store import ProjectStore
    from napari_graydet.workflows.batch import expand

    labels = names(classes, "--classes")
    if len(set(labels)) != len(labels):
        raise typer.BadParameter(f"expected different class names, got {classes!r}.")
    root = images or folder
    if not root.is_dir():
        raise typer.BadParameter(f"expected a folder of images, {root} is none; give --images.")
    found = [path.absolute() for path in expand([root])]
    with ProjectStore.create(folder, labels, found, images_root=root, patients=patients) as store:
        entries = store.entries()
    count, owners = len(entries), len(set(people(entries).values()))
    of = "" if patients is None else f" of {owners} {'patient' if owners == 1 else 'patients'}"
    text = (
        f"{folder} is a project of {count} {'image' if count == 1 else 'images'}{of}, "
        f"classes {', '.join(labels)}.\n"
        f"Next: napari-graydet predict {folder}, or napari-graydet open {folder}"
    )
    document = {"project": str(folder), "classes": labels, "images": count}
    return Result(document if patients is None else {**document, "patients": owners}, text)
