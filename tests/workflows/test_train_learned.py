"""What weights to start from have learned from does not judge those that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_graydet.errors import DatasetError, ProjectError
from napari_graydet.project import splits
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.train import train
from tests.workflows.projects import study
from tests.workflows.trainings import QuickPart, make_folders, quick

__all__ = ["quick"]


def sides(entry: Any) -> tuple[set[str], set[str]]:
    return set(entry.split.train), set(entry.split.validation)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    images, masks = make_folders(tmp_path / "data", 14)
    return {"parts": "boxes", "images": str(images), "masks": str(masks), "label": "bone"}


def test_another_seed_holds_out_no_image_of_the_start_or_of_its_start(
    tmp_path: Path, folders: dict[str, Any], quick: QuickPart
) -> None:
    few = {name: tmp_path / name for name in ("images", "masks")}
    for name, place in few.items():
        place.mkdir()
        for number in range(4):
            file = Path(folders[name]) / f"p{number}.png"
            (place / file.name).write_bytes(file.read_bytes())
    asked = folders | {name: str(place) for name, place in few.items()}
    learned: set[str] = set()
    for seed in range(4):
        entry = train(TrainRequest.of(**asked, seed=seed), tmp_path / "out", use=True)
        ours, held_out = sides(entry)
        assert held_out and not held_out & learned
        learned |= ours
        for name, place in few.items():  # new images, or nobody would be left to hold out
            for number in range(4 + 3 * seed, 7 + 3 * seed):
                file = Path(folders[name]) / f"p{number}.png"
                if file.exists():
                    (place / file.name).write_bytes(file.read_bytes())


def test_other_weights_know_nobody(
    tmp_path: Path, folders: dict[str, Any], quick: QuickPart
) -> None:
    first = sides(train(TrainRequest.of(**folders), tmp_path / "out", use=True))
    fresh = TrainRequest.of(**folders, seed=5, start="shipped")
    alone = sides(train(fresh, tmp_path / "alone"))
    assert sides(train(fresh, tmp_path / "out")) == alone != first
    again = TrainRequest.of(**folders, seed=5)
    assert not sides(train(again, tmp_path / "out"))[1] & first[0]


def test_images_of_the_same_name_in_another_folder_are_others(
    tmp_path: Path, folders: dict[str, Any], quick: QuickPart
) -> None:
    train(TrainRequest.of(**folders), tmp_path / "out", use=True)
    images, masks = make_folders(tmp_path / "others", 14)
    other = folders | {"images": str(images), "masks": str(masks), "seed": 5}
    expected = sides(train(TrainRequest.of(**other), tmp_path / "alone"))
    assert sides(train(TrainRequest.of(**other), tmp_path / "out")) == expected


def test_a_project_whose_split_was_deleted_starts_from_shipped_weights_or_not_at_all(
    tmp_path: Path, quick: QuickPart
) -> None:
    project = study(tmp_path / "study", 12)
    request: dict[str, Any] = {"parts": "boxes", "project": str(project)}
    first = train(TrainRequest.of(**request), project, use=True)
    train(TrainRequest.of(**request), project)
    (project / splits.FILE_NAME).unlink()
    with pytest.raises(DatasetError, match="put the shipped model in use first"):
        train(TrainRequest.of(**request, seed=3), project)
    assert len(ModelRegistry(project).entries()) == 2
    assert first.split is not None
    entry = train(TrainRequest.of(**request, start="shipped"), project)
    assert entry.status == "done"


def test_a_model_that_cannot_be_put_in_use_is_done_all_the_same(
    tmp_path: Path, folders: dict[str, Any], quick: QuickPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: ModelRegistry, _run_id: str) -> None:
        raise ProjectError("No space left.")

    monkeypatch.setattr(ModelRegistry, "activate", full)
    told: list[dict[str, Any]] = []
    entry = train(TrainRequest.of(**folders), tmp_path / "out", on_event=told.append, use=True)
    assert entry.status == "done" and entry.weights
    assert ModelRegistry(tmp_path / "out").entry("0001") == entry
    assert told[-2]["message"] == "Trained, but not put in use: No space left."
    assert told[-1]["event"] == "done" and told[-1]["active"] is False
