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
        If the folder cannot be written.
    """
    images = place / "images"
    if images.is_dir():
        return images
    on_notice(f"making the sample radiographs in {place} (once, takes some seconds)")
    stage = place / f".graydet-{uuid.uuid4().hex[:12]}.part"
    try:
        stage.mkdir(parents=True)
        write_samples(stage)
        for name in ("masks", "images"):  # images last: they tell that all is there
            shutil.rmtree(place / name, ignore_errors=True)  # left by a run that was stopped
            (stage / name).rename(place / name)
    except OSError as error:
        raise ProjectError(
            f"Cannot make the samples in {place}: {reason_of(error)}; give another --folder."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return images
