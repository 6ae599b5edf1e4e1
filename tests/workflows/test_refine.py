"""A refiner's residual: on top of boxes and clean-up, never on top of human work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.segmentation import CleanUp, Residual, explained_share
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.project.schema import ResidualRecord
from napari_graydet.workflows.evaluation.methods import GraydetMethod
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.predict_project import predict_project
from napari_graydet.workflows.project_images import read_entry
from napari_graydet.workflows.records import read_record
from napari_graydet.workflows.refine import refined
from napari_graydet.workflows.segment import segment
from tests.workflows.fakes import BrightHalf, FakeRois, proposal
from tests.workflows.projects import make_project

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
IMAGE = GrayImage(PIXELS, GrayScale.of_bits(8), name="noise.png")
BONE, LUNG = proposal(5, 5, 25, 30), proposal(30, 5, 55, 30, "lung")
TARGET = np.zeros((40, 60), dtype=np.bool_)
TARGET[8:28, 3:24] = True  # reaches out of the ROI


@dataclass
class Knows:
    """Refines one label to a mask that it was told."""

    label: str = "bone"
    broken: bool = False
    name: str = "knows 1234"
    sees: tuple[RoiProposal, ...] = ()

    def missed(
        self,
        image: GrayImage,
        rois: Sequence[RoiProposal],
        doubtful: Sequence[RoiProposal] = (),
    ) -> list[RoiProposal]:
        if self.broken:
            raise ModelError("The refiner broke.")
        return [roi for roi in self.sees if roi not in rois]

    def refine(
        self,
        image: GrayImage,
        boxes: Sequence[BoxProposal],
        bases: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    ) -> dict[str, Residual]:
        if self.broken:
            raise ModelError("The refiner broke.")
        assert bases is not None and set(bases) == {box.label for box in boxes}
        if self.label not in bases:
            return {}
        return {self.label: Residual.between(bases[self.label], TARGET)}


def predictor(refiner: Knows | None) -> Predictor:
    rois, boxes = FakeRois([BONE, LUNG]), BrightHalf()
    return Predictor(roi_detector=rois, box_detector=boxes, refiner=refiner)


def test_the_detector_is_asked_for_its_doubts_only_where_it_found_nothing() -> None:
    doubtful, too_faint = replace(BONE, score=0.2), replace(LUNG, score=0.05)

    class Detector(FakeRois):
        def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
            return super().detect(image, min_score=0.25 if min_score is None else min_score)

    class Believes(Knows):
        def missed(
            self,
            image: GrayImage,
            rois: Sequence[RoiProposal],
            doubtful: Sequence[RoiProposal] = (),
        ) -> list[RoiProposal]:
            return list(doubtful)

    def found(*rois: RoiProposal, min_score: float | None = None) -> list[float | None]:
        detector, refiner = Detector([*rois, doubtful, too_faint]), Believes()
        tried = Predictor(roi_detector=detector, box_detector=BrightHalf(), refiner=refiner)
        return [roi.score for roi in tried.roi_records(IMAGE, min_score=min_score)]

    assert found() == [0.2]
    assert found(min_score=0.5) == [], "who asks for sure ones gets no others"
    assert found(LUNG) == [LUNG.score]


@pytest.mark.parametrize("cleanup", [None, CleanUp(opening=1, keep_largest=1)])
def test_mask_is_boxes_cleaned_plus_residual(cleanup: CleanUp | None) -> None:
    found = segment(IMAGE, cleanup=cleanup, predictor=predictor(Knows()))
    plain = segment(IMAGE, cleanup=cleanup, predictor=predictor(None))
    np.testing.assert_array_equal(found.mask_of("bone"), TARGET)
    np.testing.assert_array_equal(found.mask_of("lung"), plain.mask_of("lung"))
    residual = found.annotation.residual["bone"]
    assert (residual.source, residual.model) == ("model", "knows 1234")
    base = found.annotation.base_mask(PIXELS, "bone")
    np.testing.assert_array_equal(base, plain.mask_of("bone"))
    assert 0 < explained_share(base, TARGET) < 1
    assert found.models["refiner"] == "knows 1234" and "refiner" not in plain.models
    assert found.notices == ("lung: not refined, knows 1234 does not know it",)


def test_human_residual_is_never_overwritten() -> None:
    annotation = segment(IMAGE, predictor=predictor(None)).annotation
    drawn = {
        "bone": ResidualRecord(added=((0, 5),), source="human"),
        "lung": ResidualRecord(added=((9, 2),), source="model", model="older"),
    }
    annotation = annotation.model_copy(update={"residual": drawn})
    after, _ = refined(annotation, IMAGE, Knows("bone"), "newer")
    assert after.residual["bone"] == drawn["bone"]
    newer, _ = refined(annotation, IMAGE, Knows("lung"), "newer")
    assert newer.residual["bone"] == drawn["bone"]
    assert newer.residual["lung"].model == "newer"
    np.testing.assert_array_equal(newer.mask(PIXELS, "lung"), TARGET)


def test_what_another_refiner_made_of_an_unknown_label_stays() -> None:
    annotation = segment(IMAGE, predictor=predictor(None)).annotation
    older = {"lung": ResidualRecord(added=((9, 2),), source="model", model="older")}
    annotation = annotation.model_copy(update={"residual": older})
    after, notices = refined(annotation, IMAGE, Knows("bone"), "newer")
    assert after.residual["lung"] == older["lung"] and after.residual["bone"].model == "newer"
    assert notices == ("lung: not refined, newer does not know it",)


def test_a_refiner_is_told_which_rois_a_person_has_drawn() -> None:
    annotation = segment(IMAGE, predictor=predictor(None)).annotation
    rois = tuple(
        roi.model_copy(update={"source": "human"}) if roi.label == "bone" else roi
        for roi in annotation.rois
    )
    told: dict[str, bool] = {}

    class Listens(Knows):
        def refine(
            self,
            image: GrayImage,
            boxes: Sequence[BoxProposal],
            bases: Mapping[str, npt.NDArray[np.bool_]] | None = None,
        ) -> dict[str, Residual]:
            told.update({box.label: box.drawn for box in boxes})
            return super().refine(image, boxes, bases)

    refined(annotation.model_copy(update={"rois": rois}), IMAGE, Listens(), "knows")
    assert told == {"bone": True, "lung": False}


def test_broken_refiner_leaves_the_boxes_and_says_so() -> None:
    found = segment(IMAGE, predictor=predictor(Knows(broken=True)))
    assert found.annotation.residual == {}
    assert "not refined: The refiner broke." in found.notices
    assert len(found.boxes) == 2


def test_what_only_the_refiner_sees_gets_an_roi_and_a_box() -> None:
    other = proposal(2, 32, 20, 39)
    helper = predictor(Knows(sees=(BONE, other)))
    found = segment(IMAGE, predictor=helper).annotation
    assert found == helper.predict(IMAGE).annotation.model_copy(
        update={"rois": found.rois, "boxes": found.boxes}
    )
    assert [roi.model for roi in found.rois] == ["fake-roi", "fake-roi", "knows 1234"]
    assert found.rois[-1].roi_box == other.roi and found.boxes[-1].roi_id == found.rois[-1].id
    assert len(segment(IMAGE, label="lung", predictor=helper).annotation.rois) == 1
    method = GraydetMethod(predictor(None), Knows(sees=(other,)))
    assert len(method.segment(IMAGE).rois) == 3
    assert len(method.segment(IMAGE, [BONE]).rois) == 1, "ROIs that are given are all there are"


def test_record_of_a_refined_mask_renders_it_again(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(PIXELS).save(path)
    found = segment(path, predictor=predictor(Knows()))
    record = tmp_path / "noise.json"
    record.write_text(found.record().text())
    again = read_record(record)
    assert again.models["refiner"] == "knows 1234"
    mask = again.annotation().label_map(PIXELS, list(again.classes))
    np.testing.assert_array_equal(mask, found.label_map)


def test_project_predictions_are_refined_and_name_the_refiner(tmp_path: Path) -> None:
    with make_project(tmp_path / "study", count=1) as store:
        report = predict_project(store, predictor(Knows()))
        (image_id,) = report.predicted
        annotation, _ = store.annotation(image_id)
        assert annotation.residual["bone"].source == "model"
        assert not annotation.has_human_work
        pixels = read_entry(store, store.entry(image_id)).pixels
        np.testing.assert_array_equal(annotation.mask(pixels, "bone"), TARGET)
        assert store.revisions(image_id)[-1].action.endswith("fake-boxes + knows 1234")
        assert report.notices[image_id] == ("lung: not refined, knows 1234 does not know it",)


def test_missing_refiner_weights_stop_before_the_first_image(tmp_path: Path) -> None:
    broken = Predictor(
        roi_detector=FakeRois([BONE]),
        box_detector=BrightHalf(),
        refiner_source=tmp_path / "none.safetensors",
    )
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        segment(IMAGE, predictor=broken)
