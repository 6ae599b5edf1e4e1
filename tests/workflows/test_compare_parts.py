"""Parts of ours in a comparison: trained once, held-out images inside the N, costs for both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.core.sample import Sample
from napari_graydet.errors import CancelledError, DatasetError, ModelError
from napari_graydet.io.weights import WeightsCard, save_weights
from napari_graydet.workflows.compare import parts as compare_parts
from napari_graydet.workflows.compare.methods import train_whole_image
from napari_graydet.workflows.compare.parts import (
    check_choices,
    split_for_choices,
    train_graydet,
    train_interval,
)
from napari_graydet.workflows.compare.task import Task, alone
from napari_graydet.workflows.dataset import Case, Dataset
from napari_graydet.workflows.training.job import PartJob, PartResult
from napari_graydet.workflows.training.parts import PARTS, Part
from tests.workflows.test_compare import data

__all__ = ["data"]

SIZES = {"roi": 30, "boxes": 20, "refiner": 10}


@dataclass
class Trainings:
    """Takes the place of the parts' trainings; remembers their jobs."""

    chosen: str = "unet"
    weight: float = 0.0
    jobs: list[PartJob] = field(default_factory=list)

    def of(self, name: str) -> Part:
        return replace(
            PARTS[name], train=lambda job: self.train(name, job), try_start=lambda *_: None
        )

    def train(self, name: str, job: PartJob) -> PartResult:
        self.jobs.append(job)
        for step in (1, 2, 3):
            job.tell("progress", step=step, share=step / 3)
        job.tell("validation", step=3, share=1.0, scores={}, best=True)
        card = WeightsCard(
            kind="boxes", architecture="x", classes=["object"], metrics={"chosen": self.chosen}
        )
        save_weights(job.out, {"w": np.full(SIZES[name], self.weight, np.float32)}, card)
        return PartResult({})

    @property
    def names(self) -> list[str]:
        return [job.out.stem for job in self.jobs]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    made = Trainings()
    monkeypatch.setattr(compare_parts, "PARTS", {name: made.of(name) for name in SIZES})
    return made


def task(data: Dataset, folder: Path, **more: object) -> Task:
    start = folder / "start"
    start.touch()
    return Task(data, 0, folder, starts=dict.fromkeys(SIZES, start), **more)  # type: ignore[arg-type]


def test_parts_are_trained_once_and_counted_for_both(
    data: Dataset, tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_parts, "_refiner", lambda path, device: None)
    plain = train_graydet("fast", False, task(data, tmp_path))
    refined = train_graydet("fast", True, task(data, tmp_path))
    assert trainings.names == ["roi", "boxes", "refiner"]
    assert (plain.weights, refined.weights) == (50, 60)
    assert dict(refined.steps) == {"roi": 3, "boxes": 3, "refiner": 3}
    assert refined.cost.seconds >= plain.cost.seconds
    assert (plain.method.name, refined.method.name) == ("graydet", "graydet+refiner")


def test_presets_are_kept_apart(data: Dataset, tmp_path: Path, trainings: Trainings) -> None:
    train_graydet("fast", False, task(data, tmp_path))
    paper = train_graydet("paper", False, task(data, tmp_path))
    assert trainings.names == ["roi", "boxes"] * 2
    assert [job.preset for job in trainings.jobs] == ["fast", "fast", "paper", "paper"]
    assert paper.method.name == "paper"


def test_what_it_holds_out_is_of_other_patients_and_of_its_own_images(
    data: Dataset, tmp_path: Path, trainings: Trainings
) -> None:
    train_graydet("fast", False, task(data, tmp_path))
    for job in trainings.jobs:
        learned, held_out = (
            {case.patient for case in d.cases} for d in (job.train, job.validation)
        )
        assert learned
        assert held_out
        assert not learned & held_out
        assert len(job.train.cases) + len(job.validation.cases) == len(data.cases)


def test_minutes_are_divided_among_the_parts(
    data: Dataset, tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_parts, "_refiner", lambda path, device: None)
    train_graydet("fast", True, task(data, tmp_path, minutes=7.0))
    assert sum(job.minutes or 0 for job in trainings.jobs) == pytest.approx(7.0)
    *_, refiner = trainings.jobs
    assert refiner.uses == {job.out.stem: job.out for job in trainings.jobs[:2]}


def test_every_method_has_the_same_time_in_any_order(
    data: Dataset, tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_parts, "_refiner", lambda path, device: None)

    def spent(folder: str, *order: str) -> dict[str, float]:
        minutes = {}
        for method in order:
            trainings.jobs.clear()
            given = task(data, tmp_path / folder, minutes=12.0)
            if method == "otsu":
                train_interval("otsu", given)
            else:
                train_graydet("fast", method == "graydet+refiner", given)
            minutes[method] = sum(job.minutes or 0 for job in trainings.jobs)
        return minutes

    methods = ("graydet+refiner", "graydet", "otsu")
    for folder, order in (("one", methods), ("two", methods[::-1])):
        (tmp_path / folder).mkdir()
        assert spent(folder, *order) == pytest.approx(dict.fromkeys(methods, 12.0))


def test_what_a_training_took_before_it_was_cut_counts(
    data: Dataset, tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(name: str, job: PartJob) -> PartResult:
        job.tell("progress", step=1, share=0.3)
        time.sleep(0.2)
        raise CancelledError("stopped")

    monkeypatch.setattr(trainings, "train", cut)
    with pytest.raises(CancelledError):
        train_interval("otsu", task(data, tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr(compare_parts, "PARTS", {name: trainings.of(name) for name in SIZES})
    trained = train_interval("otsu", task(data, tmp_path))
    assert dict(trained.steps) == {"roi": 4}
    assert trained.cost.seconds > 0.2
    assert train_interval("otsu", task(data, tmp_path)).steps == trained.steps


def test_a_part_that_was_cut_is_trained_again(
    data: Dataset, tmp_path: Path, trainings: Trainings
) -> None:
    train_graydet("fast", False, task(data, tmp_path))
    (tmp_path / "fast" / "boxes.cost.json").unlink()
    train_graydet("fast", False, task(data, tmp_path))
    assert trainings.names == ["roi", "boxes", "boxes"]


def test_a_part_from_another_start_and_what_relies_on_it_are_trained_again(
    data: Dataset, tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_parts, "_refiner", lambda path, device: None)
    first = task(data, tmp_path)
    train_graydet("fast", True, first)
    other = tmp_path / "other"
    other.write_text("another start")
    again = replace(first, starts={**first.starts, "boxes": other})
    trainings.jobs.clear()
    trainings.weight = 1.0
    train_graydet("fast", True, again)
    assert trainings.names == ["boxes", "refiner"]


def test_a_part_of_another_version_is_trained_again(
    data: Dataset, tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_graydet("fast", False, task(data, tmp_path))
    trainings.jobs.clear()
    monkeypatch.setattr(compare_parts, "version", lambda _name: "99.0")
    train_graydet("fast", False, task(data, tmp_path))
    assert trainings.names == ["roi", "boxes"]


def test_a_part_is_trained_by_one_process_at_a_time(
    data: Dataset, tmp_path: Path, trainings: Trainings
) -> None:
    boxes = tmp_path / "fast" / "boxes.safetensors"
    with alone(boxes), pytest.raises(ModelError, match="being trained by another process"):
        train_graydet("fast", False, task(data, tmp_path))
    assert trainings.names == ["roi"]
    train_graydet("fast", False, task(data, tmp_path))
    assert trainings.names == ["roi", "boxes"]
    network = tmp_path / "unet-1it-32px"
    budget = task(data, tmp_path, iterations=1, size=32)
    with alone(network), pytest.raises(ModelError, match="being trained by another process"):
        train_whole_image("unet", budget)


def test_a_refiner_that_lost_against_the_boxes_is_not_used(
    data: Dataset, tmp_path: Path, trainings: Trainings
) -> None:
    trainings.chosen = "none"
    trained = train_graydet("fast", True, task(data, tmp_path))
    assert trained.method.refiner is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["otsu", "multi-otsu", "constant", "ridge"])
def test_rivals_learn_from_all_images_and_share_the_roi_detector(
    kind: str, data: Dataset, tmp_path: Path, trainings: Trainings
) -> None:
    trained = train_interval(kind, task(data, tmp_path))  # type: ignore[arg-type]
    assert trainings.names == ["roi"]
    assert trained.method.name == kind
    boxes = trained.method.predictor.box_detector  # type: ignore[attr-defined]
    sample = data.cases[0].samples()[0]
    (roi,) = sample.rois
    (best, *_) = boxes.detect(sample.image, roi, label="object")
    assert np.mean(best.box.gray.contains(sample.image.pixels[sample.mask])) > 0.4


def blank(data: Dataset, names: set[str]) -> Dataset:
    """Return the dataset with nothing in some of its images."""

    def emptied(case: Case) -> Case:
        def load() -> list[Sample]:
            return [replace(sample, parts=np.zeros_like(sample.parts)) for sample in case.samples()]

        return replace(case, load=load) if case.name in names else case

    return replace(data, cases=tuple(emptied(case) for case in data.cases))


def test_what_it_holds_out_shows_an_object(
    data: Dataset, tmp_path: Path, trainings: Trainings
) -> None:
    plain = split_for_choices(task(data, tmp_path))
    there = blank(data, set(plain.validation))
    split = split_for_choices(task(there, tmp_path))
    assert not set(split.validation) <= set(plain.validation)
    train_graydet("fast", False, task(there, tmp_path))
    assert all(job.validation.patients.keys() == set(split.validation) for job in trainings.jobs)
    last = sorted(data.patients)[0]
    with pytest.raises(DatasetError, match="no draw of the"):
        check_choices(task(blank(data, set(data.patients) - {last}), tmp_path))
