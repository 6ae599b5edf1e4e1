"""napari-graydet: from grayscale radiographs to trustworthy masks, with the researcher in the loop.

    import napari_graydet as gd

    result = gd.segment("forearm.png")      # Segmentation: mask, rois, boxes
    gd.best_range(image, mask, roi)         # the ceiling: GrayRange and its IoU
    gd.fit_box(image, mask, roi, k=3)       # the bent box that gives a mask back best: Fit
    project = gd.open_project("study")      # ProjectStore

Everything but the version is loaded when it is first used: importing this package loads neither
torch nor Qt nor numpy.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from napari_graydet.core.boxes import GrayBox
    from napari_graydet.core.ceiling import Ceiling, best_range
    from napari_graydet.core.fit import Fit, fit_box
    from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
    from napari_graydet.core.roi import RoiBox
    from napari_graydet.io.images import read_image
    from napari_graydet.project.store import ProjectStore
    from napari_graydet.workflows.predict import Predictor
    from napari_graydet.workflows.segment import Segmentation, segment

_LAZY = {
    "Ceiling": "napari_graydet.core.ceiling",
    "Fit": "napari_graydet.core.fit",
    "GrayBox": "napari_graydet.core.boxes",
    "GrayImage": "napari_graydet.core.grayscale",
    "GrayRange": "napari_graydet.core.grayscale",
    "GrayScale": "napari_graydet.core.grayscale",
    "Predictor": "napari_graydet.workflows.predict",
    "ProjectStore": "napari_graydet.project.store",
    "RoiBox": "napari_graydet.core.roi",
    "Segmentation": "napari_graydet.workflows.segment",
    "best_range": "napari_graydet.core.ceiling",
    "fit_box": "napari_graydet.core.fit",
    "read_image": "napari_graydet.io.images",
    "segment": "napari_graydet.workflows.segment",
}

__all__ = [
    "Ceiling",
    "Fit",
    "GrayBox",
    "GrayImage",
    "GrayRange",
    "GrayScale",
    "Predictor",
    "ProjectStore",
    "RoiBox",
    "Segmentation",
    "__version__",
    "best_range",
    "fit_box",
    "open_project",
    "read_image",
    "segment",
]


def open_project(folder: str | Path) -> ProjectStore:
    """Open a project for reading and writing.

    Parameters
    ----------
    folder
        Folder that holds ``graydet.toml``; `napari-graydet init` makes one.

    Raises
    ------
    ProjectError
        If it is no project, is damaged, or was written by a newer version.
    """
    from napari_graydet.project.store import ProjectStore

    return ProjectStore.open(Path(folder))


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
