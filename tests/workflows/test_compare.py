"""Comparisons: the same images for all, nothing done twice, fair to every method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.metrics import dice
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.errors import (
    CancelledError,
    DatasetError,
    GraydetError,
    ModelError,
    WeightsError,
)
from napari_graydet.workflows.compare import compare
from napari_graydet.workflows.compare.compare import Series, jobs_of, run_jobs
from napari_graydet.workflows.compare.masks import pictured
from napari_graydet.workflows.compare.methods import METHODS, ComparedMethod, require_used
from napari_graydet.workflows.compare.results import Job, JobResult
from napari_graydet.workflows.compare.task import Task, Trained
from napari_graydet.workflows.dataset import Dataset, from_folders
from napari_graydet.workflows.evaluation.methods import Result

COUNT = 14


@dataclass
class Threshold:
    """Says that what is brighter than `level` is the object; fails where it is told to."""

    level: int
    name: str = "threshold"
    labels: tuple[str, ...] = ("object",)
    fails_on: str = ""

    def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
        if self.fails_on and self.fails_on in image.name:
            raise GraydetError("it does not like this one")
        return Result({"object": image.pixels >= self.level})


@dataclass
class Trainer:
    """Gives a threshold, and remembers what it was asked to learn from."""

    level: int
    fails_on: str = ""
    asked: list[Task] = field(default_factory=list)

    def __call__(self, task: Task) -> Trained:
        self.asked.append(task)
        task.step("threshold", 0.5)
        return Trained(Threshold(self.level + task.seed, fails_on=self.fails_on), 7, {"x": 3})


def make_folders(folder: Path, count: int = COUNT) -> tuple[Path, Path]:
    """Bright squares of different noise; two images of every patient."""
    rng = np.random.default_rng(0)
    images, masks = folder / "images", folder / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    for number in range(count):
        mask = np.zeros((24, 32), dtype=bool)
        row, col = rng.integers(2, 10, 2)
        mask[row : row + 10, col : col + 14] = True
        pixels = np.clip(rng.normal(90, 25, mask.shape) + 80 * mask, 0, 255)
        name = f"p{number // 2:02d}_{number % 2}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(images / name)
        Image.fromarray(mask.astype(np.uint8) * 255).save(masks / name)
    return images, masks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return from_folders(*make_folders(tmp_path_factory.mktemp("data")), patients="p([0-9]+)_")


def series_of(data: Dataset, folder: Path) -> Series:
    pool, test = compare.divided(data, 0.4)
    return Series("train", pool, {"test": test}, folder / "results", folder / "work")


def job(method: str, seed: int = 0, n: int = 4) -> Job:
    return Job(method=method, train="train", n=n, seed=seed)


def test_a_series_is_scored_on_the_test_images_only(data: Dataset, tmp_path: Path) -> None:
    series, trainer = series_of(data, tmp_path), Trainer(135)
    (result,) = run_jobs(series, [job("t")], methods={"t": ComparedMethod("", trainer)})
    (task,) = trainer.asked
    learned = {case.patient for case in task.train.cases}
    tested = {score.patient for score in result.scores["test"]}
    assert not learned & tested
    assert sorted(result.images) == sorted(case.name for case in task.train.cases)
    cases = {case.name: case.samples()[0] for case in series.tests["test"].cases}
    assert {score.image for score in result.scores["test"]} == set(cases)
    for score in result.scores["test"]:
        sample = cases[score.image]
        expected = dice(sample.image.pixels >= 135, sample.mask)
        assert score.dice == pytest.approx(expected, abs=1e-5)


def test_what_is_done_is_not_done_again(data: Dataset, tmp_path: Path) -> None:
    series, trainer = series_of(data, tmp_path), Trainer(135)
    methods = {"t": ComparedMethod("", trainer)}
    first = run_jobs(series, [job("t")], methods=methods)
    again = run_jobs(series, [job("t"), job("t", seed=1)], methods=methods)
    assert len(trainer.asked) == 2
    assert again[0] == first[0]
    assert series.finished() == again


def test_a_stopped_series_keeps_what_is_finished(data: Dataset, tmp_path: Path) -> None:
    series, trainer = series_of(data, tmp_path), Trainer(135)

    def cancel() -> bool:
        return len(trainer.asked) == 2

    jobs = [job("t", seed) for seed in range(3)]
    with pytest.raises(CancelledError):
        run_jobs(series, jobs, methods={"t": ComparedMethod("", trainer)}, should_cancel=cancel)
    assert [result.job.seed for result in series.finished()] == [0]


def test_a_damaged_result_is_computed_again(data: Dataset, tmp_path: Path) -> None:
    series, trainer = series_of(data, tmp_path), Trainer(135)
    methods = {"t": ComparedMethod("", trainer)}
    (first,) = run_jobs(series, [job("t")], methods=methods)
    path = series.result_path(job("t"))
    path.write_text(path.read_text()[:100])
    (again,) = run_jobs(series, [job("t")], methods=methods)
    assert again.scores["test"][0].dice == first.scores["test"][0].dice
    assert len(trainer.asked) == 2


def test_results_of_other_images_are_not_mixed_in(data: Dataset, tmp_path: Path) -> None:
    methods = {"t": ComparedMethod("", Trainer(135))}
    run_jobs(series_of(data, tmp_path), [job("t")], methods=methods)
    fewer = data.subset([case.name for case in data.cases[:-2]])
    other = series_of(fewer, tmp_path)
    with pytest.raises(DatasetError, match="other images"):
        run_jobs(other, [job("t")], methods=methods)
    assert other.finished() == []


def test_results_from_other_weights_are_not_mixed_in(data: Dataset, tmp_path: Path) -> None:
    methods = {"t": ComparedMethod("", Trainer(135), starts=("roi",))}
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    a.write_bytes(b"a")
    b.write_bytes(b"b")

    def started(**starts: Path) -> Series:
        return replace(series_of(data, tmp_path), starts=starts)

    run_jobs(started(roi=a, boxes=b), [job("t")], methods=methods)
    run_jobs(started(roi=a, boxes=a), [job("t")], methods=methods)  # it has no boxes
    for other in (started(roi=b), started()):
        with pytest.raises(DatasetError, match="from other weights"):
            run_jobs(other, [job("t")], methods=methods)
    path = started().result_path(job("t"))
    older = json.loads(path.read_text())
    del older["starts"]
    path.write_text(json.dumps(older))
    run_jobs(started(roi=b), [job("t")], methods=methods)  # it is not known


def test_a_method_that_cannot_be_trained_is_known_before_the_first_is(
    data: Dataset, tmp_path: Path
) -> None:
    trainer = Trainer(135)

    def refuse(task: Task) -> None:
        raise ModelError("no MONAI")

    def refuse_two(task: Task) -> None:
        if len(task.train.cases) == 2:
            raise ModelError("too few")

    jobs = [job("t"), job("u", n=4), job("u", n=2)]
    for method, match in (
        (ComparedMethod("", trainer, check=refuse), "no MONAI"),
        (ComparedMethod("", trainer, check_images=refuse_two), "too few"),
    ):
        methods = {"t": ComparedMethod("", trainer), "u": method}
        with pytest.raises(ModelError, match=match):
            run_jobs(series_of(data, tmp_path), jobs, methods=methods)
    assert trainer.asked == []


@pytest.mark.parametrize("name", [n for n, c in METHODS.items() if not c.whole_image])
def test_ours_and_rivals_need_two_patients(name: str, data: Dataset, tmp_path: Path) -> None:
    task = Task(data.subset([data.cases[0].name]), 0, tmp_path)
    with pytest.raises(DatasetError, match="at least 2 patients"):
        METHODS[name].check_images(task)


def test_weights_that_no_method_starts_from_are_refused() -> None:
    require_used(["roi"], ["unet", "otsu"])
    require_used(["pointnet", "roi"], ["paper"])
    for starts, methods in ((["roi"], ["unet"]), (["pointnet"], ["graydet", "unet"])):
        with pytest.raises(ModelError, match=f"starts from {starts[0]} weights"):
            require_used(starts, methods)


def test_fewer_images_are_among_more(data: Dataset, tmp_path: Path) -> None:
    series = series_of(data, tmp_path)
    for seed in range(3):
        drawn = [series.training_names(n, seed) for n in (2, 4, 6)]
        assert [len(names) for names in drawn] == [2, 4, 6]
        assert set(drawn[0]) < set(drawn[1]) < set(drawn[2])
    assert len({series.training_names(4, seed) for seed in range(5)}) > 1


def test_a_patient_on_both_sides_is_refused(data: Dataset, tmp_path: Path) -> None:
    names = [case.name for case in data.cases]
    with pytest.raises(DatasetError, match="split by patient"):
        Series(
            "train", data.subset(names[:3]), {"test": data.subset(names[3:])}, tmp_path, tmp_path
        )


def test_too_many_training_images_are_refused_before_anything_is_trained(
    data: Dataset, tmp_path: Path
) -> None:
    series, trainer = series_of(data, tmp_path), Trainer(135)
    jobs = [job("t"), job("t", n=99)]
    with pytest.raises(DatasetError, match=f"between 1 and {len(series.pool.cases)}"):
        run_jobs(series, jobs, methods={"t": ComparedMethod("", trainer)})
    assert trainer.asked == []


def test_images_and_masks_are_looked_at_before_anything_is_trained(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path / "data")
    whole = from_folders(images, masks, patients="p([0-9]+)_")
    names = compare.divided(whole, 0.4)
    learned, tested = (side.cases[0].name for side in names)

    def refused(match: str) -> None:
        data = from_folders(images, masks, patients="p([0-9]+)_")
        trainer = Trainer(135)
        jobs = [job("t", n=len(names[0].cases))]
        with pytest.raises(GraydetError, match=match):
            run_jobs(series_of(data, tmp_path), jobs, methods={"t": ComparedMethod("", trainer)})
        assert trainer.asked == []

    for name in (learned, tested):
        path = masks / f"{name}.png"
        before = path.read_bytes()
        Image.new("L", (5, 5)).save(path)
        refused("5 x 5")
        path.write_bytes(before)
    for value, match in ((0, "none of the"), (255, "cover their whole image")):
        for path in masks.iterdir():
            Image.new("L", (32, 24), value).save(path)
        refused(match)


def test_a_start_that_is_not_there_is_missed_before_anything_is_trained(
    data: Dataset, tmp_path: Path
) -> None:
    series = replace(series_of(data, tmp_path), starts={"pointnet": tmp_path / "no.safetensors"})
    with pytest.raises(WeightsError, match=r"that pointnet starts from .* found no file"):
        run_jobs(series, [job("paper")])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_budgets_go_to_those_that_take_them() -> None:
    given = {"train": "a", "numbers": [5], "seeds": [0]}
    own, net = jobs_of(["otsu", "unet"], **given, iterations=30)
    assert (own.iterations, own.minutes, net.iterations) == (None, None, 30)
    own, net = jobs_of(["otsu", "unet"], **given, minutes=1.5)
    assert (own.minutes, net.minutes, net.iterations) == (1.5, 1.5, None)
    assert jobs_of(["unet"], **given)[0].iterations == compare.ITERATIONS
    with pytest.raises(ModelError):
        jobs_of(["unet"], **given, iterations=3, minutes=1.0)
    with pytest.raises(ModelError, match="'segnet'"):
        jobs_of(["unet", "segnet"], **given)


def test_keys_tell_jobs_apart() -> None:
    jobs = [
        made
        for minutes in (None, 1.0, 2.5)
        for made in jobs_of(
            list(METHODS), train="a", numbers=[5, 50], seeds=[0, 1], minutes=minutes
        )
    ]
    small = jobs_of(["unet", "graydet"], train="a", numbers=[5], seeds=[0], size=128)
    assert small[1] in jobs, "the picture size is the whole-image networks'"
    jobs += small[:1]
    assert len({made.key for made in jobs}) == len(jobs)
    assert not any(set(" /\\") & set(made.key) for made in jobs)


def test_a_network_that_was_interrupted_goes_on_within_its_job(
    data: Dataset, tmp_path: Path
) -> None:
    def run(folder: Path, stop_after: int | None) -> tuple[list[str], JobResult]:
        told: list[str] = []

        def cancel() -> bool:
            return stop_after is not None and len(told) > stop_after

        def tell(done: int, of: int, what: str, share: float) -> None:
            told.append(what)

        jobs = jobs_of(["unet"], train="train", numbers=[3], seeds=[0], iterations=3)
        series = series_of(data, folder)
        try:
            (result,) = run_jobs(series, jobs, on_job=tell, should_cancel=cancel)
        except CancelledError:
            assert series.finished() == []
            return run(folder, None)
        assert not list(series.work.rglob("step-*"))
        return told, result

    _, whole = run(tmp_path / "whole", None)
    told, pieces = run(tmp_path / "pieces", 0)
    assert any("Going on from the checkpoint of step" in what for what in told)
    scores = [[(s.image, s.dice, s.hd95) for s in r.scores["test"]] for r in (whole, pieces)]
    assert scores[0] == scores[1]
    assert (pieces.steps, pieces.images) == (whole.steps, whole.images)


def test_a_baseline_from_folders_to_scores(data: Dataset, tmp_path: Path) -> None:
    series = series_of(data, tmp_path)
    jobs = jobs_of(["unet"], train="train", numbers=[2], seeds=[0], iterations=1)
    told: list[str] = []
    (result,) = run_jobs(series, jobs, on_job=lambda done, of, what, share: told.append(what))
    assert result.steps == {"unet": 1}
    assert result.weights is not None
    assert result.weights > 1e6
    assert result.training.seconds > 0
    assert all(score.dice is not None for score in result.scores["test"])
    (kept,) = series.kept_masks().values()
    assert len(kept) == len(pictured(series.tests["test"]).cases)
    stored = JobResult.model_validate_json(series.result_path(jobs[0]).read_text())
    assert stored == result
    assert any("unet" in what for what in told)
    assert any("testing" in what for what in told)
    assert json.loads(series.result_path(jobs[0]).read_text())["job"]["n"] == 2
