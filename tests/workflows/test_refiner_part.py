"""The refiner as a part of training: what it starts from and works with, and when none is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_graydet.errors import CancelledError, ModelError, WeightsError
from napari_graydet.io.weights import SHIPPED, WeightsKind, read_card
from napari_graydet.models import loading
from napari_graydet.models.refiner import learner as refiner_learner
from napari_graydet.models.refiner import training as refiner_training
from napari_graydet.models.refiner.choice import in_words
from napari_graydet.project.model_entry import RANDOM
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.models_in_use import predictor_of
from napari_graydet.workflows.training import parts as train_parts
from napari_graydet.workflows.training import refiner_part
from napari_graydet.workflows.training import starts as train_starts
from napari_graydet.workflows.training.job import PartJob, PartResult
from napari_graydet.workflows.training.parts import parts_of
from napari_graydet.workflows.training.refiner_part import CANNOT_TELL, NOT_BETTER
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.train import resume, train
from tests.models.refiners import SMALL
from tests.workflows.fakes import fake_predictor, proposal
from tests.workflows.trainings import QuickPart, make_folders, quick

__all__ = ["quick"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks, detectors without weights, and no shipped refiner."""
    torch.set_num_threads(1)
    monkeypatch.setattr("napari_graydet.workflows.training.events.LEAST_SECONDS", 0.0)
    monkeypatch.setattr(refiner_learner, "RefinerTraining", lambda **more: replace(SMALL, **more))
    monkeypatch.setattr(
        refiner_part, "Predictor", lambda *_: fake_predictor(proposal(9, 7, 38, 31))
    )

    def shipped(kind: WeightsKind) -> Path:
        if kind == "refiner":
            raise WeightsError("no refiner")
        return loading.shipped(kind)

    monkeypatch.setattr(train_starts, "shipped", shipped)


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    images, masks = make_folders(tmp_path / "data")
    return TrainRequest.of(
        parts="refiner", images=str(images), masks=str(masks), label="bone", epochs=5.0
    )


def test_a_refiner_starts_from_nothing_and_the_next_one_from_it(
    tmp_path: Path, request_: TrainRequest
) -> None:
    request = request_.model_copy(update={"epochs": 1.0})
    entry = train(request, tmp_path)
    assert entry.parents == {"refiner": RANDOM, "roi": SHIPPED, "boxes": SHIPPED}
    scores = entry.scores["refiner"]
    assert scores["DSC"] == max(scores.values()) and {"DSC, none", "DSC, unet"} <= scores.keys()
    assert set(entry.weights) == {"refiner"} and not entry.parent_scores["refiner"]
    models = ModelRegistry(tmp_path)
    path = models.weights_path("0001", "refiner")
    chosen = str(read_card(path).metrics["chosen"])
    assert chosen in {k.removeprefix("DSC, ") for k in scores}
    if chosen != "none":
        assert entry.notes == {"refiner": f"Chosen on the held-out images: {in_words(chosen)}."}
    again = train(request.model_copy(update={"start": (str(path),)}), tmp_path)
    assert again.parents["refiner"] == "refiner.safetensors"
    assert 0 <= again.parent_scores["refiner"]["DSC"] <= 1


@pytest.fixture
def no_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point heads as small as the settings say, not as the shipped box detector."""
    monkeypatch.setattr(refiner_part, "_trunk", lambda _: None)


@pytest.mark.usefixtures("no_trunk")
def test_stopped_in_the_second_network_and_resumed_to_the_same_weights(
    tmp_path: Path, request_: TrainRequest
) -> None:
    models = ModelRegistry(tmp_path / "a")

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and event["share"] > 0.6:
            models.request_stop("0001")

    with pytest.raises(CancelledError):
        train(request_, tmp_path / "a", on_event=stop)
    done = resume("0001", tmp_path / "a")
    assert done.weights == train(request_, tmp_path / "b").weights


@pytest.mark.usefixtures("no_trunk")
def test_where_the_boxes_alone_do_better_none_is_used_and_the_entry_says_so(
    tmp_path: Path, request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"none": 0.9, "unet": 0.5, "points": 0.6, "scene": 0.4, "unet+points": 0.7}
    monkeypatch.setattr(refiner_training, "choose_refiner", lambda *_: (None, table))
    events: list[dict[str, Any]] = []
    entry = train(request_, tmp_path, use=True, on_event=events.append)
    assert entry.notes == {"refiner": NOT_BETTER}
    assert NOT_BETTER in [event.get("message") for event in events]
    assert entry.scores["refiner"]["DSC"] == 0.9
    models = ModelRegistry(tmp_path)
    assert models.choices() == {} and models.entry("0001") == entry
    assert read_card(models.weights_path("0001", "refiner")).classes == ["bone"]
    assert predictor_of(tmp_path).refiner is None


@pytest.mark.usefixtures("no_trunk")
def test_images_without_boxes_are_told(
    tmp_path: Path, request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refiner_part, "Predictor", lambda *_: fake_predictor())
    events: list[dict[str, Any]] = []
    entry = train(request_, tmp_path, on_event=events.append)
    assert any("No box of bone" in str(event.get("message")) for event in events)
    assert entry.notes == {"refiner": CANNOT_TELL}, "none of them is better"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, quick: QuickPart) -> Callable[[], list[PartJob]]:
    seen: list[PartJob] = []

    def remember(job: PartJob) -> PartResult:
        seen.append(job)
        return PartResult()

    part = replace(train_parts.PARTS["refiner"], train=remember)
    monkeypatch.setitem(train_parts.PARTS, "refiner", part)
    return lambda: seen


def test_it_works_with_the_boxes_of_its_run_and_the_roi_detector_in_use(
    tmp_path: Path, request_: TrainRequest, jobs: Callable[[], list[PartJob]]
) -> None:
    request = request_.model_copy(update={"parts": "boxes,refiner"})
    train(request, tmp_path, use=True)
    train(request_, tmp_path)
    first, second = jobs()
    assert first.uses["roi"] == second.uses["roi"] == loading.shipped("roi")
    assert first.uses["boxes"].parts[-3:] == ("0001", "work", "boxes.safetensors")
    assert second.uses["boxes"] == ModelRegistry(tmp_path).weights_path("0001", "boxes")
    assert first.start is None


def test_candidates_have_names_that_people_read() -> None:
    assert in_words("none") == "the boxes alone"
    assert in_words("unet+scene + flips") == "U-Net on ROIs + scene, with mirror images"


def test_preset_paper_has_none() -> None:
    assert [part.name for part in parts_of("all", "fast")] == ["roi", "boxes", "refiner"]
    assert [part.name for part in parts_of("all", "paper")] == ["roi", "boxes"]
    with pytest.raises(ModelError, match="Preset paper has no refiner"):
        parts_of("roi,refiner", "paper")


def test_shipped_as_a_start_must_be_there_where_nothing_else_is_trained(
    tmp_path: Path, request_: TrainRequest, jobs: Callable[[], list[PartJob]]
) -> None:
    alone = request_.model_copy(update={"start": ("shipped",)})
    with pytest.raises(WeightsError, match="no refiner"):
        train(alone, tmp_path)
    train(alone.model_copy(update={"parts": "boxes,refiner"}), tmp_path)
    assert jobs()[0].start is None
