"""Doubt of a proposal, from its record and its image alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Residual
from napari_graydet.core.uncertainty import box_uncertainty, signs_of
from napari_graydet.project.schema import Annotation, ResidualRecord
from napari_graydet.workflows.doubt import doubt_of, doubts_of_project
from napari_graydet.workflows.events import Progress
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.predict_project import predict_project
from tests.workflows.fakes import fake_predictor
from tests.workflows.projects import make_project

SURE, LOST = RoiBox(4, 4, 36, 36), RoiBox(30, 10, 60, 40)


@pytest.fixture
def image() -> GrayImage:
    y, x = np.mgrid[:64, :64]
    disk = (x - 20) ** 2 + (y - 20) ** 2 <= 15**2
    pixels = np.where(disk, 180, 40) + np.random.default_rng(0).integers(0, 10, disk.shape)
    return GrayImage(pixels.astype(np.uint8), GrayScale.of_bits(8))


def predictor() -> Predictor:
    return fake_predictor(RoiProposal(SURE, "bone", 0.9), RoiProposal(LOST, "bone", 0.3))


def test_doubts_are_those_of_the_boxes_and_follow_from_the_stored_record(image: GrayImage) -> None:
    found = predictor().annotate(image)
    stored = Annotation.model_validate_json(found.model_dump_json())
    doubt = doubt_of(stored, image)
    assert doubt is not None and list(doubt.rois) == [roi.id for roi in found.rois]
    expected, areas = [], []
    for roi, box in zip(found.rois, found.boxes, strict=True):
        assert box.score is not None
        proposal = BoxProposal(box.gray_box(), box.label, box.score)
        expected.append(box_uncertainty(signs_of(image, proposal, roi_score=roi.score)))
        areas.append(np.count_nonzero(box.gray_box().inside(image.pixels)[1]) + 1)
    assert list(doubt.rois.values()) == pytest.approx(expected)
    assert doubt.image == pytest.approx(np.average(expected, weights=areas))
    assert expected[0] < expected[1]


def test_nothing_found_and_an_roi_without_a_box_are_as_doubtful_as_can_be(image: GrayImage) -> None:
    found = predictor().annotate(image)
    nothing = doubt_of(found.model_copy(update={"rois": (), "boxes": ()}), image)
    assert nothing is not None and nothing.image == 1.0
    without = doubt_of(found.model_copy(update={"boxes": found.boxes[:1]}), image)
    assert without is not None and without.rois[found.rois[1].id] == 1.0


def test_a_refiner_s_disagreement_counts_and_a_person_s_brush_does_not(image: GrayImage) -> None:
    found = predictor().annotate(image)
    base = found.base_mask(image.pixels, "bone")
    target = base.copy()
    target[4:20] = False
    residual = Residual.between(base, target)

    def with_residual(source: str) -> Annotation:
        record = ResidualRecord.of(residual, source)  # type: ignore[arg-type]
        return found.model_copy(update={"residual": {"bone": record}})

    plain, refined, painted = (
        doubt_of(record, image)
        for record in (found, with_residual("model"), with_residual("human"))
    )
    assert plain is not None and refined is not None and painted is not None
    assert refined.image > plain.image and painted == plain


def test_a_range_that_a_person_set_is_not_doubted(image: GrayImage) -> None:
    found = predictor().annotate(image)
    by_hand = found.boxes[0].model_copy(update={"source": "human"})
    assert doubt_of(found.model_copy(update={"boxes": (by_hand, *found.boxes[1:])}), image) is None


def test_predictions_of_a_project_report_their_doubts(tmp_path: Path) -> None:
    with make_project(tmp_path / "study", count=2) as store:
        report = predict_project(store, predictor())
        assert set(report.doubts) == set(report.predicted) and len(report.predicted) == 2
        assert all(0 <= value <= 1 for value in report.doubts.values())
        for image_id, rois in report.roi_doubts.items():
            assert set(rois) == {roi.id for roi in store.annotation(image_id)[0].rois}


def test_doubts_of_stored_proposals_are_those_of_the_prediction(tmp_path: Path) -> None:
    with make_project(tmp_path / "study", count=3) as store:
        report = predict_project(store, predictor())
        gone, *there = store.entries()
        store.image_path(gone.id).unlink()
        told: list[Progress] = []
        found = doubts_of_project(store, store.entries(), told.append)
        assert found == pytest.approx({e.id: report.doubts[e.id] for e in there}, abs=1e-4)
        assert [bool(one.message) for one in told] == [True, False, False]
        assert not doubts_of_project(store, there, should_cancel=lambda: True)
