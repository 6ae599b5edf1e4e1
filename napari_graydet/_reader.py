"""npe2 reader: radiographs as napari image layers, in stored values and rightly windowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_graydet.io.images import claims_image, read_image

if TYPE_CHECKING:
    from napari.types import LayerData

PathOrPaths = str | Path | list[str] | list[Path]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """Return a reader if every path is a PNG, JPEG, TIFF or DICOM file by content, else None."""
    paths = _paths(path)
    return read_layers if paths and all(claims_image(one) for one in paths) else None


def read_layers(path: PathOrPaths) -> list[LayerData]:
    """Read each path as one image layer.

    Returns
    -------
    layers
        (pixels, options, "image"): (H, W) stored values; contrast limits and colormap as the file
        asks for (MONOCHROME1 is shown inverted); the rest of `GrayImage` in the metadata.

    Raises
    ------
    ImageError
        If a file is not a grayscale image that can be read.
    """
    return [_layer(one) for one in _paths(path)]


def _layer(path: Path) -> LayerData:
    image = read_image(path)
    scale = image.scale
    options = {
        "name": path.stem,
        "contrast_limits": sorted((scale.black, scale.white)),
        "colormap": "gray_r" if scale.inverted else "gray",
        "metadata": {
            "path": str(path),
            "sha256": image.sha256,
            "spacing_mm": image.spacing_mm,
            "rescale": (scale.slope, scale.intercept, scale.unit),
            "notes": image.notes,
        },
    }
    return image.pixels, options, "image"


def _paths(path: PathOrPaths) -> list[Path]:
    return [Path(one) for one in path] if isinstance(path, list) else [Path(path)]
