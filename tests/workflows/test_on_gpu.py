"""A whole training and its detections on a GPU, or on one that is pretended where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_graydet.io.images import read_image
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.models_in_use import predictor_of
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.train import train
from tests.models.pretended_gpu import gpu_of_this_machine
from tests.workflows.trainings import make_folders


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with gpu_of_this_machine(monkeypatch):
        yield


def test_all_parts_are_trained_there_and_asked_here_and_there(gpu: None, tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path / "data", 6)
    told: list[dict[str, Any]] = []
    request = TrainRequest.of(
        parts="all", images=str(images), masks=str(masks), label="bone", minutes=0.05,
        device="cuda",
    )  # fmt: skip
    entry = train(request, tmp_path / "models", on_event=told.append)
    assert entry.status == "done" and set(entry.weights) == {"roi", "boxes", "refiner"}
    assert entry.machine["device"] == "cuda" and entry.machine["gpu"]
    assert not [event for event in told if "memory" in str(event)]
    ModelRegistry(tmp_path / "models").activate("0001")
    image = read_image(images / "p0.png")
    there, here = (
        predictor_of(tmp_path / "models", device=device).predict(image).annotation
        for device in ("cuda", "cpu")
    )
    assert {roi.label for roi in there.rois} == {roi.label for roi in here.rois} == {"bone"}
    for one, other in list(zip(there.boxes, here.boxes, strict=False))[:1]:
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=2)
