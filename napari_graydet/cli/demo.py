"""``napari-graydet demo``: the window on sample radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_graydet.cli.boundary import Result, complain
from napari_graydet.cli.options import Debug, Json
from napari_graydet.cli.window import require_window, run_window

_FOLDER = Path("~/napari-graydet-demo")


def demo(
    folder: Annotated[
        Path, typer.Option(help="Where the sample project is kept.", metavar="DIR")
    ] = _FOLDER,
    screenshots: Annotated[
        Path | None,
        typer.Option(
            help="Save pictures of the window there, and close it.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Open the window on sample radiographs.

    They are computed phantoms, nobody's images, made on the first run (a few seconds). What you
    annotate there is kept.
    """
    require_window()
    place = folder.expanduser()
    images = _samples(place)
    if screenshots is not None:
        from napari_graydet.gui.screenshots import save_screenshots

        saved = save_screenshots(images, screenshots)
        return Result(
            {"project": str(place), "screenshots": [path.name for path in saved]},
            f"{len(saved)} screenshots in {screenshots}",
        )
    run_window(images)
    return Result({"project": str(place)})


def _samples(place: Path) -> Path:
    """Return the folder of the sample images, made if it is not there or not complete."""
    from napari_graydet.workflows.demo import sample_folder

    return sample_folder(place, on_notice=complain)
