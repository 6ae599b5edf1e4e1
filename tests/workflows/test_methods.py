"""Our own method behind the protocol: the same masks as `segment`, and what a refiner adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.metrics import iou
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.segmentation import Residual
from napari_graydet.workflows.evaluation.methods import (
    CANDIDATE_SCORE,
    FindsRois,
    GraydetMethod,
    Method,
)
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.segment import segment
from tests.workflows.fakes import BrightHalf, FakeRois, fake_predictor, proposal
from tests.workflows.folders import picture, truth

IMAGE = GrayImage(picture(), GrayScale.of_bits(8), name="a.png")
BONE = proposal(10, 8, 42, 32, score=0.8)
LUNG = proposal(2, 2, 9, 20, label="lung", score=0.4)
FAINT = proposal(44, 30, 58, 38, score=0.05)


@dataclass
class Painter:
    """Refines to a mask that it was told, whatever the boxes say."""

    target: npt.NDArray[np.bool_]
    name: str = "folder/painter"
    labels: tuple[str, ...] = ("bone",)
    seen: list[Sequence[BoxProposal]] = field(default_factory=list)

    def missed(
        self,
        image: GrayImage,
        rois: Sequence[RoiProposal],
        doubtful: Sequence[RoiProposal] = (),
    ) -> list[RoiProposal]:
        return []

    def refine(
        self,
        image: GrayImage,
        boxes: Sequence[BoxProposal],
        bases: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    ) -> dict[str, Residual]:
        self.seen.append(boxes)
        assert bases is not None
        return {"bone": Residual.between(bases["bone"], self.target)} if "bone" in bases else {}


def test_it_is_a_method_that_finds_rois() -> None:
    method: Method = GraydetMethod(fake_predictor(BONE))
    assert isinstance(method, FindsRois)
    assert (method.name, method.labels) == ("fake-roi + fake-boxes", ("bone", "lung"))
    assert GraydetMethod(fake_predictor(), name="mine").name == "mine"
    assert GraydetMethod(fake_predictor(), Painter(truth())).name.endswith(" + painter")


def test_its_masks_are_those_of_segment() -> None:
    predictor = fake_predictor(BONE, LUNG)
    result = GraydetMethod(predictor).segment(IMAGE)
    expected = segment(IMAGE, predictor=predictor)
    assert set(result.masks) == {"bone", "lung"}
    for label, mask in result.masks.items():
        np.testing.assert_array_equal(mask, expected.mask_of(label))
    assert result.explained == {"bone": 1.0, "lung": 1.0}
    assert [(p.roi, p.label, p.score) for p in result.rois] == [
        (p.roi, p.label, p.score) for p in (BONE, LUNG)
    ]
    assert [(b.label, b.score) for b in result.boxes] == [("bone", 0.75), ("lung", 0.75)]
    window, inside = result.boxes[0].box.inside(IMAGE.pixels)
    np.testing.assert_array_equal(result.masks["bone"][window], inside)


def test_given_rois_are_taken_and_none_is_looked_for() -> None:
    rois = FakeRois([LUNG])
    method = GraydetMethod(Predictor(roi_detector=rois, box_detector=BrightHalf()))
    result = method.segment(IMAGE, [BONE])
    assert rois.seen == []
    assert [p.roi for p in result.rois] == [BONE.roi]
    assert method.segment(IMAGE, []).masks == {}


def test_candidates_go_down_to_faint_ones() -> None:
    asked: list[float | None] = []

    class Rois(FakeRois):
        def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
            asked.append(min_score)
            return super().detect(image, min_score=0.2 if min_score is None else min_score)

    predictor = Predictor(roi_detector=Rois([BONE, FAINT]), box_detector=BrightHalf())
    method = GraydetMethod(predictor)
    assert [p.roi for p in method.segment(IMAGE).rois] == [BONE.roi]
    assert [p.roi for p in method.candidates(IMAGE)] == [BONE.roi, FAINT.roi]
    assert asked == [None, CANDIDATE_SCORE]


def test_the_refiner_has_the_last_word_and_the_box_its_share() -> None:
    target = truth()
    method = GraydetMethod(fake_predictor(BONE, LUNG), Painter(target))
    result = method.segment(IMAGE)
    np.testing.assert_array_equal(result.masks["bone"], target)
    plain = GraydetMethod(fake_predictor(BONE, LUNG)).segment(IMAGE)
    np.testing.assert_array_equal(result.masks["lung"], plain.masks["lung"])
    assert result.explained is not None
    assert 0 < result.explained["bone"] == iou(plain.masks["bone"], target) < 1
    assert result.explained["lung"] == 1.0
    record = method.annotate(IMAGE, [BONE])
    assert record.residual["bone"].model_dump(include={"source", "model"}) == {
        "source": "model",
        "model": "painter",
    }
    np.testing.assert_array_equal(record.mask(IMAGE.pixels, "bone"), target)


def test_a_refiner_without_anything_to_refine() -> None:
    painter = Painter(truth())
    assert GraydetMethod(fake_predictor(), painter).segment(IMAGE).masks == {}
    assert painter.seen == [[]]
    agreeing = Painter(GraydetMethod(fake_predictor(BONE)).segment(IMAGE).masks["bone"])
    record = GraydetMethod(fake_predictor(BONE), agreeing).annotate(IMAGE, [BONE])
    assert record.residual == {}


def test_an_roi_of_one_gray_value_has_an_empty_mask() -> None:
    flat = GrayImage(np.full((40, 60), 7, dtype=np.uint8), GrayScale.of_bits(8))
    result = GraydetMethod(fake_predictor(BONE)).segment(flat)
    assert [p.roi for p in result.rois] == [BONE.roi]
    assert (list(result.boxes), result.masks["bone"].any()) == ([], False)
