"""Which models are in use: those that a project chose, the shipped ones, or what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_graydet.io.weights import read_card
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.predict import Predictor


def predictor_of(
    folder: str | Path | None,
    roi_source: str | Path | None = None,
    box_source: str | Path | None = None,
    device: str = "auto",
    *,
    refiner_source: str | Path | None = None,
    notice: Callable[[str], None] | None = None,
) -> Predictor:
    """Return the detectors, and the refiner if there is one, that a project uses.

    Parameters
    ----------
    folder
        The project; None uses the shipped models.
    roi_source, box_source, refiner_source
        Weights to use instead.
    device, notice
        As for `Predictor`.

    Raises
    ------
    ProjectError, DamagedProjectError
        If a model that is in use is gone or damaged; it is never replaced silently.
    """
    sources: dict[str, str | Path | None] = {
        "roi": roi_source,
        "boxes": box_source,
        "refiner": refiner_source,
    }
    if folder is not None:
        registry = ModelRegistry(Path(folder))
        for kind, source in sources.items():
            sources[kind] = source or _in_use(registry, kind)
    return Predictor(
        sources["roi"],
        sources["boxes"],
        device,
        refiner_source=sources["refiner"],
        notice=notice,
    )


def _in_use(registry: ModelRegistry, kind: str) -> Path | None:
    """Return the weights of a kind in use; None for the shipped ones, for a refiner for none."""
    path = registry.active_weights(kind)
    return path if path is not None and read_card(path).is_of_use else None
