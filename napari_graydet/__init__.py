"""napari-graydet: from grayscale radiographs to trustworthy masks, with the researcher in the loop.

    import napari_graydet as gd

    result = gd.segment("forearm.png")      # Segmentation: mask, rois, boxes
    gd.best_range("forearm.png", "mask.png", (10, 20, 90, 200))  # Ceiling: range and its IoU
    gd.fit_box("forearm.png", "mask.png", (10, 20, 90, 200), k=3)  # the bent box that fits best
    with gd.open_project("study") as project:  # ProjectStore
        gd.predict_project(project, gd.predictor_of("study"))  # by the models that it uses
        gd.export_project(project, "out")

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
    from napari_graydet.core.ceiling import Ceiling
    from napari_graydet.core.fit import Fit
    from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
    from napari_graydet.core.roi import RoiBox
    from napari_graydet.core.segmentation import CleanUp
    from napari_graydet.errors import GraydetError
    from napari_graydet.io.images import read_image
    from napari_graydet.io.masks import read_mask
    from napari_graydet.project.store import ProjectStore
    from napari_graydet.workflows.export import export_project
    from napari_graydet.workflows.measure import best_range, fit_box
    from napari_graydet.workflows.models_in_use import predictor_of
    from napari_graydet.workflows.predict import Predictor
    from napari_graydet.workflows.predict_project import predict_project
    from napari_graydet.workflows.segment import Segmentation, segment

_LAZY = {
    "Ceiling": "napari_graydet.core.ceiling",
    "CleanUp": "napari_graydet.core.segmentation",
    "Fit": "napari_graydet.core.fit",
    "GrayBox": "napari_graydet.core.boxes",
    "GrayImage": "napari_graydet.core.grayscale",
    "GrayRange": "napari_graydet.core.grayscale",
    "GrayScale": "napari_graydet.core.grayscale",
    "GraydetError": "napari_graydet.errors",
    "Predictor": "napari_graydet.workflows.predict",
    "ProjectStore": "napari_graydet.project.store",
    "RoiBox": "napari_graydet.core.roi",
    "Segmentation": "napari_graydet.workflows.segment",
    "best_range": "napari_graydet.workflows.measure",
    "export_project": "napari_graydet.workflows.export",
    "fit_box": "napari_graydet.workflows.measure",
    "predict_project": "napari_graydet.workflows.predict_project",
    "predictor_of": "napari_graydet.workflows.models_in_use",
    "read_image": "napari_graydet.io.images",
    "read_mask": "napari_graydet.io.masks",
    "segment": "napari_graydet.workflows.segment",
}

__all__ = [
    "Ceiling",
    "CleanUp",
    "Fit",
    "GrayBox",
    "GrayImage",
    "GrayRange",
    "GrayScale",
    "GraydetError",
    "Predictor",
    "ProjectStore",
    "RoiBox",
    "Segmentation",
    "__version__",
    "best_range",
    "export_project",
    "fit_box",
    "open_project",
    "predict_project",
    "predictor_of",
    "read_image",
    "read_mask",
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
    return sorted(__all__)
