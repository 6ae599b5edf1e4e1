"""A method on a dataset: rows and failures, true ROIs, labels, average precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.errors import CancelledError, DatasetError, ExportError, ModelError
from napari_graydet.workflows.dataset import Dataset, from_folders, from_project
from napari_graydet.workflows.evaluation.evaluate import evaluate
from napari_graydet.workflows.evaluation.methods import GraydetMethod, Result
from napari_graydet.workflows.events import Progress
from napari_graydet.workflows.predict import Predictor
from tests.workflows.fakes import BrightHalf, FakeRois, fake_predictor, proposal
from tests.workflows.folders import SHAPE, make_folders, picture, save, truth
from tests.workflows.projects import fill, make_project

AROUND = proposal(11, 9, 41, 31)
ELSEWHERE = proposal(44, 2, 58, 8, score=0.3)


@dataclass(frozen=True)
class Threshold:
    """A method without ROIs and boxes, as the baselines are."""

    value: int = 100
    name: str = "threshold"
    labels: tuple[str, ...] = ("bone",)

    def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
        return Result({"bone": image.pixels > self.value})


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return from_folders(*make_folders(tmp_path), label="bone")


def test_a_row_for_each_image(data: Dataset) -> None:
    seen: list[Progress] = []
    method = GraydetMethod(fake_predictor(AROUND, ELSEWHERE))
    report = evaluate(method, data, split="test", on_progress=seen.append)
    assert [(row.image, row.label) for row in report.rows] == [(f"a{n}", "bone") for n in range(4)]
    assert (report.method, report.data, report.split) == (method.name, data.digest, "test")
    assert [(p.done, p.total, p.name, p.message) for p in seen] == [
        (n + 1, 4, f"a{n}", "") for n in range(4)
    ]
    for row, case in zip(report.rows, data.cases, strict=True):
        (sample,) = case.samples()
        mask = method.segment(sample.image).masks["bone"]
        assert row.iou == (mask & sample.mask).sum() / (mask | sample.mask).sum()
        assert (row.parts, row.rois, row.missed, row.explained) == (1, 2, 0, 1.0)
        assert row.seconds is not None and row.seconds > 0
    assert report.average_precision == {"bone": 1.0}  # what is elsewhere has the lower score


def test_true_rois_are_given_and_none_is_looked_for(data: Dataset) -> None:
    rois = FakeRois([ELSEWHERE])
    method = GraydetMethod(Predictor(roi_detector=rois, box_detector=BrightHalf()))
    detected, given = (evaluate(method, data, true_rois=flag) for flag in (False, True))
    assert len(rois.seen) == 2 * 4  # once for the mask, once for the candidates
    assert given.true_rois and given.average_precision == {}
    for lost, found in zip(detected.rows, given.rows, strict=True):
        assert (lost.iou, lost.missed) == (0, 1)
        assert found.iou is not None and found.iou > 0.5
        assert (found.loss_roi, lost.loss_roi) == (0, pytest.approx(found.iou))
        assert lost.loss_range == found.loss_range
    assert detected.average_precision == {"bone": 0.0}


def test_a_method_without_boxes(data: Dataset) -> None:
    report = evaluate(Threshold(), data)
    assert [(row.iou, row.dice, row.hd95) for row in report.rows] == [(1, 1, 0)] * 4
    assert [(row.loss_roi, row.rois, row.explained) for row in report.rows] == [(None,) * 3] * 4
    assert report.average_precision == {}


def test_the_same_data_give_the_same_report(data: Dataset) -> None:
    method = GraydetMethod(fake_predictor(AROUND))
    first, second = (evaluate(method, data) for _ in range(2))
    assert first.json() == second.json()
    assert first.markdown() == second.markdown()


def test_classes_that_the_method_cannot_find_are_named(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 1)
    save(masks / "a0.png", truth().astype(np.uint8) * 2)
    data = from_folders(images, masks, classes=["bone", "tooth"])
    report = evaluate(GraydetMethod(fake_predictor(AROUND)), data)
    assert report.notices == ("The method does not know tooth.",)
    assert [row.iou for row in report.rows] == [0, 0]  # a bone where there is none, no tooth


def test_classes_are_scored_each_for_itself(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 2)
    ids = truth().astype(np.uint8) * 2
    ids[2:8, 44:58] = 1
    save(masks / "a0.png", ids)
    save(masks / "a1.png", (ids == 1).astype(np.uint8))
    data = from_folders(images, masks, classes=["bone", "lung"])
    lung = proposal(11, 9, 41, 31, label="lung")
    report = evaluate(GraydetMethod(fake_predictor(lung)), data)
    rows = {(row.image, row.label): row for row in report.rows}
    assert len(rows) == 4
    assert (rows["a0", "bone"].iou, rows["a0", "bone"].missed) == (0, 1)
    assert rows["a0", "lung"].iou is not None and rows["a0", "lung"].iou > 0.5
    assert (rows["a1", "lung"].iou, rows["a1", "lung"].fp) == (0, 1)  # there is none
    assert report.average_precision == {"bone": 0.0, "lung": 1.0}


def test_masks_that_nobody_named_a_class_for(tmp_path: Path) -> None:
    data = from_folders(*make_folders(tmp_path))
    assert data.classes == ("object",)
    for label in ("bone", "lung"):
        found = proposal(11, 9, 41, 31, label=label)
        for true_rois in (False, True):
            report = evaluate(GraydetMethod(fake_predictor(found)), data, true_rois=true_rois)
            assert all(row.iou is not None and row.iou > 0.5 for row in report.rows)


def test_an_accepted_project_scores_its_own_boxes(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        fill(store)
        data = from_project(store)
    report = evaluate(GraydetMethod(fake_predictor()), data, true_rois=True)
    assert len(report.rows) == 6 and not report.failed
    assert [row.iou for row in report.rows[4:]] == [1, 1]  # accepted as "nothing here"
    assert all(row.parts == 1 for row in report.rows[:4])


# --- failures -----------------------------------------------------------------------------------


def test_a_bad_image_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    save(masks / "a1.png", truth()[1:])
    (images / "a2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    seen: list[Progress] = []
    data = from_folders(images, masks, label="bone")
    report = evaluate(GraydetMethod(fake_predictor(AROUND)), data, on_progress=seen.append)
    good = evaluate(GraydetMethod(fake_predictor(AROUND)), data.subset(["a0", "a3"]))
    assert [row.image for row in report.failed] == ["a1", "a2"]
    for row in report.failed:
        assert row.error and "\n" not in row.error and row.iou is None
    assert [p.message for p in seen] == [row.error or "" for row in report.rows]
    assert report.means()["iou"].n == 2
    assert report.means()["iou"].value == good.means()["iou"].value
    assert report.average_precision == good.average_precision
    json.dumps(report.document(), allow_nan=False)


def test_no_folder_stands_in_a_report(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path / "canary one", 3)
    data = from_folders(images, masks, label="bone")
    (images / "a0.png").unlink()
    (masks / "a1.png").unlink()
    with make_project(tmp_path / "canary two") as store:
        fill(store)
        accepted = from_project(store)
        store.image_path(1).unlink()
    for some in (data, accepted):
        report = evaluate(GraydetMethod(fake_predictor(AROUND)), some)
        assert report.failed
        assert "canary" not in report.json() + report.csv() + report.markdown()


@pytest.mark.parametrize("error", [RuntimeError("CUDA out\nof memory"), MemoryError()])
def test_a_method_that_fails_on_an_image(data: Dataset, error: Exception) -> None:
    class Fails(Threshold):
        def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
            if image.name == "a1.png":
                raise error
            return super().segment(image, rois)

    report = evaluate(Fails(), data)
    assert [row.image for row in report.failed] == ["a1"]
    assert report.failed[0].error in ("CUDA out of memory", "MemoryError")
    assert report.means()["iou"].n == 3


def test_models_that_cannot_be_loaded_stop_at_once(data: Dataset) -> None:
    class Broken(Threshold):
        @property
        def labels(self) -> tuple[str, ...]:  # type: ignore[override]
            raise ModelError("no such device")

    with pytest.raises(ModelError):
        evaluate(Broken.__new__(Broken), data)


def test_nothing_to_evaluate(data: Dataset) -> None:
    with pytest.raises(DatasetError, match="got none"):
        evaluate(Threshold(), data.subset([]))
    other = Dataset(data.cases, ("tooth",))
    with pytest.raises(DatasetError, match="knows bone, but the masks are of tooth"):
        evaluate(Threshold(), other)


def test_stopping(data: Dataset) -> None:
    done: list[Progress] = []
    with pytest.raises(CancelledError):
        evaluate(Threshold(), data, on_progress=done.append, should_cancel=lambda: len(done) == 2)
    assert len(done) == 2


def test_a_stop_in_the_middle_of_an_image_is_no_failure_of_it(data: Dataset) -> None:
    class Stops(Threshold):
        def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        evaluate(Stops(), data)


def test_masks_are_handed_on_and_a_full_disk_is_no_fault_of_an_image(data: Dataset) -> None:
    kept = {}

    def keep(name: str, masks: dict[str, np.ndarray]) -> None:
        if len(kept) == 2:
            raise ExportError("disk full")
        kept[name] = masks["bone"]

    with pytest.raises(ExportError):
        evaluate(Threshold(), data, on_masks=keep)
    assert list(kept) == ["a0", "a1"]
    np.testing.assert_array_equal(kept["a1"], truth())


def test_one_image_is_enough(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 1)
    save(images / "a0.png", picture())
    report = evaluate(Threshold(), from_folders(images, masks, label="bone"))
    assert report.means()["iou"].value == 1
    assert picture().shape == SHAPE
