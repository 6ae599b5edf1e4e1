"""Which models segment, and which images they are scored on: of a project, or as asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_graydet.errors import DatasetError
from napari_graydet.project import splits
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.evaluation.methods import GraydetMethod
from napari_graydet.workflows.models_in_use import predictor_of

Source = str | Path | None


def method_of(
    folder: Path | None,
    *,
    model: str | None = None,
    roi_source: Source = None,
    box_source: Source = None,
    refiner_source: Source = None,
    device: str = "auto",
    notice: Callable[[str], None] | None = None,
) -> GraydetMethod:
    """Return the method that a project uses, or variants of it.

    Parameters
    ----------
    folder
        The project; None uses the shipped models.
    model
        Number of a trained model of the project: what would be in use once it is put in use.
    roi_source, box_source, refiner_source
        Weights to use instead of all these.
    device, notice
        As for `Predictor`.

    Raises
    ------
    ProjectError, DamagedProjectError
        If a model is gone or damaged; it is never replaced silently.
    WeightsError, ModelError
        If the refiner cannot be loaded.
    """
    sources = {"roi": roi_source, "boxes": box_source, "refiner": refiner_source}
    unrefined = False
    if folder is not None and model is not None:
        registry = ModelRegistry(folder)
        used = registry.choices_with(model)
        unrefined = not sources["refiner"] and "refiner" not in used
        for kind in used.keys() & sources.keys():
            sources[kind] = sources[kind] or registry.weights_path(used[kind], kind)
    predictor = predictor_of(
        folder,
        sources["roi"],
        sources["boxes"],
        device,
        refiner_source=sources["refiner"],
        notice=notice,
    )
    return GraydetMethod(predictor, None if unrefined else predictor.refiner)


def side_of_project(dataset: Dataset, folder: Path, side: str) -> Dataset:
    """Return one side of a project's split, as it was frozen when it was first trained.

    Parameters
    ----------
    dataset
        Of the project.
    folder
        The project folder.
    side
        "train", "validation", "test" or "all".

    Raises
    ------
    DatasetError
        If there is no split yet, or nothing on that side.
    DamagedProjectError, NewerSchemaError
        If the split cannot be read.
    """
    if side == "all":
        return dataset
    split = splits.saved(folder)
    if split is None:
        raise DatasetError(
            "The project has no split yet, it is drawn by the first training; "
            "evaluate all images, or train first."
        )
    names = set(split.side(side)) & dataset.patients.keys()
    if not names:
        raise DatasetError(f"No {side} image is accepted any more; evaluate all images.")
    return dataset.subset(names)
