"""``napari-graydet open``: the window on a folder or a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_graydet.cli.boundary import Result
from napari_graydet.cli.options import Debug, Json
from napari_graydet.cli.window import run_window


def open_path(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder of images, or a project.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ],
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Open the window on a folder of images or on a project.

    A plain folder becomes a project in place; its images are never changed.
    """
    run_window(path)
    return Result({"opened": str(path)})
