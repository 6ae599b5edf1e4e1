"""Images of a project, read and checked against what was annotated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import ProjectError
from napari_graydet.io.images import read_image
from napari_graydet.project.schema import ImageEntry

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore


def read_entry(store: ProjectStore, entry: ImageEntry) -> GrayImage:
    """Read an image of a project; errors as for `read_unchanged`."""
    return read_unchanged(store.image_path(entry.id), entry.sha256)


def read_unchanged(path: Path, sha256: str) -> GrayImage:
    """Read an image and make sure that it is still the one of this SHA-256 ("" for any).

    Raises
    ------
    ImageError
        If it cannot be read.
    ProjectError
        If the file's content changed since it was annotated.
    """
    image = read_image(path)
    if sha256 and image.sha256 != sha256:
        raise ProjectError(
            f"{path.name} changed since it was annotated (another SHA-256); "
            "put the original back, or add the new image under another name."
        )
    return image
