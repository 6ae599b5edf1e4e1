"""``napari-graydet predict``: proposals for the images of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_graydet.cli.boundary import BAD_INPUT, OK, Result, complain
from napari_graydet.cli.options import (
    BoxWeights,
    Debug,
    Device,
    Json,
    Project,
    RefinerWeights,
    RoiWeights,
)
from napari_graydet.cli.progress import progress_bar
from napari_graydet.cli.project import opened

if TYPE_CHECKING:
    from napari_graydet.workflows.predict_project import PredictReport


def predict(
    project: Project,
    roi_weights: RoiWeights = None,
    box_weights: BoxWeights = None,
    refiner: RefinerWeights = None,
    device: Device = "auto",
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Propose regions and 3D boxes for its images, by the models that it uses.

    Human work is never overwritten. A bad image is named, and the others go on.
    """
    from napari_graydet.workflows.models_in_use import predictor_of
    from napari_graydet.workflows.predict_project import predict_project

    predictor = predictor_of(
        project, roi_weights, box_weights, device, refiner_source=refiner, notice=complain
    )
    with opened(project) as store:
        with progress_bar("Predicting") as show:
            report = predict_project(store, predictor, on_progress=show)
        untouched = len(store.entries()) - len(report.predicted) - len(report.failed)
    return _result(report, str(project), untouched)


def _result(report: PredictReport, project: str, untouched: int) -> Result:
    if report.added:
        complain(
            f"{' and '.join(report.added)} was no class of the project and is one now, since the "
            "models find it. Masks of several classes are written with label ids."
        )
    for failure in report.failed:
        complain(f"{failure.name}: {failure.message}")
    document = {
        "project": project,
        "predicted": report.predicted,
        "untouched": untouched,
        "added_classes": report.added,
        "failed": [{"id": f.image_id, "image": f.name, "error": f.message} for f in report.failed],
        "doubts": {str(key): value for key, value in report.doubts.items()},
        "roi_doubts": {str(key): value for key, value in report.roi_doubts.items()},
        "notices": {str(key): list(value) for key, value in report.notices.items()},
    }
    text = (
        f"{len(report.predicted)} proposed, {untouched} with human work left alone, "
        f"{len(report.failed)} failed."
    )
    return Result(document, text, BAD_INPUT if report.failed else OK)
