"""Options that say which images with masks a verb works on, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_graydet.cli.project import opened

if TYPE_CHECKING:
    from napari_graydet.workflows.dataset import Dataset

DATA = "Data: a project, or two folders"
"""Heading of these options in the help."""

LABEL = "object"
"""What masks are of, if nothing is said: `workflows.predict.UNLABELLED`, which loads slowly."""

TrueProject = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PROJECT]",
        help="Project whose accepted images are the truth.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Images, instead of a project.", rich_help_panel=DATA),
]
Masks = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Their masks, of the same stems.", rich_help_panel=DATA),
]
Label = Annotated[
    str, typer.Option(metavar="CLASS", help="Class of the masks.", rich_help_panel=DATA)
]
Patients = Annotated[
    str | None,
    typer.Option(
        metavar="CSV|REGEX",
        help="Who is on which image: a CSV file of stem and patient, or a regular expression "
        "with one group; default: each image another patient. A project keeps its own: init and "
        "train set it.",
        rich_help_panel=DATA,
        show_default=False,
    ),
]


def read_data(
    project: Path | None,
    images: Path | None,
    masks: Path | None,
    *,
    label: str,
    patients: str | None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Read a project's accepted images, or two folders; `classes` as in `from_folders`."""
    from napari_graydet.workflows.dataset import from_folders, from_project
    from napari_graydet.workflows.patients import patients_option

    if project is not None and images is None and masks is None:
        if label != LABEL or classes is not None:
            raise typer.BadParameter(
                "expected --label and --classes with folders; a project knows its classes."
            )
        with opened(project) as store:
            if patients is not None:
                store.patients.check_same(patients)
            return from_project(store)
    if images is None or masks is None or project is not None:
        raise typer.BadParameter("expected PROJECT, or --images DIR and --masks DIR.")
    return from_folders(
        images, masks, label=label, classes=classes, patients=patients_option(patients)
    )
