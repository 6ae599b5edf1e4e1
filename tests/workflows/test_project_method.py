"""Which weights a project's method uses, and which side of its split is scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_graydet.errors import DatasetError, ProjectError, WeightsError
from napari_graydet.io.weights import WeightsCard, save_weights
from napari_graydet.models import loading
from napari_graydet.project import splits
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.dataset import Dataset, from_folders
from napari_graydet.workflows.evaluation.project_method import method_of, side_of_project
from tests.workflows.folders import make_folders


def trained(folder: Path, *kinds: str, chosen: str = "unet", preset: str = "fast") -> str:
    """A finished run with nearly empty weights."""
    registry = ModelRegistry(folder)
    entry = registry.begin(kinds, preset=preset, seed=0, request={}, versions={})
    for kind in kinds:
        metrics = {"chosen": chosen} if kind == "refiner" else {}
        card = WeightsCard.model_validate(
            {"kind": kind, "architecture": "x", "classes": ["bone"], "metrics": metrics}
        )
        save_weights(registry.weights_path(entry.id, kind), {"w": np.zeros(1)}, card)
    return registry.end(entry, "done").id


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the detectors would be loaded from, and the refiner is."""
    seen: dict[str, object] = {}

    def asks(kind: str) -> Callable[..., object]:
        def load(source: object = None, *_: object) -> object:
            seen[kind] = source
            return SimpleNamespace(name=kind, labels=("bone",))

        return load

    for kind, name in (("roi", "roi_detector"), ("boxes", "box_detector"), ("refiner", "refiner")):
        monkeypatch.setattr(loading, f"load_{name}", asks(kind))
    return seen


def test_without_a_project_nothing_is_chosen(asked: dict[str, object]) -> None:
    method = method_of(None)
    assert (method.name, method.refiner) == ("roi + boxes", None)
    assert asked == {"roi": None, "boxes": None}


def test_a_model_of_the_project_gives_what_it_has(asked: dict[str, object], tmp_path: Path) -> None:
    run = trained(tmp_path, "roi", "refiner")
    weights = ModelRegistry(tmp_path).weights_path
    method = method_of(tmp_path, model=run, roi_source="mine.safetensors")
    assert method.name == "roi + boxes + refiner"
    assert asked == {
        "roi": "mine.safetensors",
        "boxes": None,
        "refiner": weights(run, "refiner"),
    }
    assert method_of(tmp_path).refiner is None  # trained, but not in use
    with pytest.raises(ProjectError, match="no model '0009'"):
        method_of(tmp_path, model="0009")


def test_a_refiner_that_lost_is_used_only_when_it_is_asked_for(
    asked: dict[str, object], tmp_path: Path
) -> None:
    good = trained(tmp_path, "roi", "refiner")
    lost = trained(tmp_path, "roi", "refiner", chosen="none")
    models = ModelRegistry(tmp_path)
    assert models.activate(good) == {"roi": good, "refiner": good}
    assert method_of(tmp_path).refiner is not None
    assert method_of(tmp_path, model=lost).refiner is None
    assert models.activate(lost) == {"roi": lost}
    assert method_of(tmp_path).refiner is None
    assert models.roll_back() == {"roi": good, "refiner": good}
    path = models.weights_path(lost, "refiner")
    assert method_of(tmp_path, model=lost, refiner_source=path).refiner is not None


def test_a_card_that_says_none_is_respected_however_it_came_to_be_in_use(
    asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path, "refiner")
    ModelRegistry(tmp_path).activate(run)
    monkeypatch.setattr(WeightsCard, "is_of_use", False)
    assert method_of(tmp_path).refiner is None


def test_a_refiner_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError) as error:
        method_of(None, refiner_source=tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return from_folders(*make_folders(tmp_path, 8))


def test_sides_of_a_project(data: Dataset, tmp_path: Path) -> None:
    assert side_of_project(data, tmp_path, "all") is data
    with pytest.raises(DatasetError, match="no split yet"):
        side_of_project(data, tmp_path, "validation")
    split = splits.frozen(tmp_path, data.patients, seed=0)
    held_out = side_of_project(data, tmp_path, "validation")
    assert {case.name for case in held_out.cases} == set(split.validation)
    rest = data.subset(split.train)  # the held-out ones are accepted no longer
    with pytest.raises(DatasetError, match="No validation image"):
        side_of_project(rest, tmp_path, "validation")
    assert side_of_project(rest, tmp_path, "train").digest == rest.digest


def test_a_model_is_scored_as_it_would_be_used(asked: dict[str, object], tmp_path: Path) -> None:
    """Boxes of preset paper are not refined; a refiner in use must not flatter them."""
    models = ModelRegistry(tmp_path)
    models.activate(trained(tmp_path, "roi", "boxes", "refiner"))
    paper = trained(tmp_path, "roi", "boxes", preset="paper")
    method = method_of(tmp_path, model=paper)
    assert (method.name, method.refiner) == ("roi + boxes", None)
    assert asked["boxes"] == models.weights_path(paper, "boxes")
    models.activate(paper)
    assert method_of(tmp_path).refiner is None
