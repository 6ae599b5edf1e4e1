"""The sample radiographs in a folder of the user's own, where a project can be written."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from napari_graydet.errors import ProjectError
from napari_graydet.io.files import reason_of
from napari_graydet.workflows.phantoms import write_samples


def sample_folder(place: Path, on_notice: Callable[[str], None]) -> Path:
    """Return ``place/images`` with the sample radiographs; made unless it is there.

    The exact masks lie in ``place/masks``, not among the images. A folder that was made earlier
    is taken as it is, so that work done there is kept.

    Parameters
    ----------
    place
        The folder to keep them in.
    on_notice
        Called with one line before the samples are computed.

    Raises
    ------
    ProjectError
        If the folder cannot be written, or has a folder of other masks.
    """
    images = place / "images"
    if images.is_dir():
        return images
    on_notice(f"making the sample radiographs in {place} (once, takes some seconds)")
    stage = place / f".graydet-{uuid.uuid4().hex[:12]}.part"
    try:
        stage.mkdir(parents=True)
        write_samples(stage)
        _make_room(place / "masks", stage / "masks")
        for name in ("masks", "images"):  # images last: they tell that all is there
            (stage / name).rename(place / name)
    except OSError as error:
        raise ProjectError(
            f"Cannot make the samples in {place}: {reason_of(error)}; give another --folder."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return images


def _make_room(there: Path, made: Path) -> None:
    """Remove the samples' masks that a run has left which was stopped; no others."""
    if not there.exists():
        return
    others = {path.name for path in there.iterdir()} - {path.name for path in made.iterdir()}
    if others:
        raise ProjectError(
            f"{there} holds other masks than those of the samples ({min(others)}); give another "
            "--folder, nothing was changed."
        )
    shutil.rmtree(there)
