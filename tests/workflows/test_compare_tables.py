"""The tables of a comparison against figures computed by hand, and what is written of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from napari_graydet.workflows.compare.results import Job, JobResult, Score
from napari_graydet.workflows.compare.summary import Table, summarise
from napari_graydet.workflows.compare.tables import (
    CSV,
    JSON,
    MARKDOWN,
    learning_curves,
    markdown,
    scores_csv,
    write_tables,
)
from napari_graydet.workflows.evaluation.measuring import Cost

IMAGES = 20


def result(
    method: str, dices: np.ndarray, *, seed: int = 0, n: int = 10, failed: int | None = None
) -> JobResult:
    """Two images for each patient; IoU is made of the DSC, as it must be."""
    scores = [
        Score(
            image=f"i{place}",
            patient=f"p{place // 2}",
            label="lung",
            dice=float(value),
            iou=float(value / (2 - value)),
            fn=0.1,
            hd95=None if place else 4.0,
            ceiling=0.8,
            seconds=0.5,
        )
        for place, value in enumerate(dices)
    ]
    if failed is not None:
        before = scores[failed]
        scores[failed] = Score(image=before.image, patient=before.patient, label="lung", error="no")
    return JobResult(
        job=Job(method=method, train="a", n=n, seed=seed),
        data={"train": "x", "b": "y"},
        images=["t"] * n,
        scores={"b": scores},
        weights=2_000_000,
        steps={"roi": 100, "boxes": 50},
        training=Cost(seconds=10.0 * (seed + 1), memory=500.0),
        inference={"b": Cost(seconds=1.0, memory=300.0)},
        device="cpu",
        date="2026-01-01",
        versions={},
    )


def only(results: list[JobResult], reference: str | None = None) -> Table:
    (table,) = summarise(results, reference)
    return table


def test_means_over_seeds_and_images() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.7, 0.9, (2, IMAGES))
    table = only([result("unet", first), result("unet", second, seed=1)])
    (line,) = table.lines
    assert line.seeds == (0, 1)
    assert line.dice.mean == pytest.approx((first + second).mean() / 2)
    assert (line.dice.images, line.dice.patients) == (IMAGES, IMAGES // 2)
    assert line.between_seeds == pytest.approx(np.std([first.mean(), second.mean()], ddof=1))
    assert line.train_seconds == 15.0
    assert line.steps == 150
    assert line.hd95 == 4.0
    assert line.fp is None
    assert table.ceiling == pytest.approx(0.8)
    assert (table.reference, line.gain) == (None, None)


def test_methods_are_compared_over_the_seeds_that_both_have() -> None:
    """A seed decides which images are learned from: one is harder than the other for all."""
    easy, hard = np.full(IMAGES, 0.9), np.full(IMAGES, 0.7)
    table = only(
        [
            result("graydet", easy),
            result("graydet", hard, seed=1),
            result("unet", easy - 0.1),
            result("fcn", easy - 0.05, seed=2),
            result("otsu", hard - 0.1, seed=1),
        ]
    )
    gains = {line.method: line.gain.gain.mean for line in table.lines if line.gain}
    assert gains == pytest.approx({"unet": 0.1, "otsu": 0.1})
    both = [result("graydet", easy), result("graydet", hard, seed=1), result("unet", easy - 0.1)]
    assert [line.method for line in only(both).lines] == ["graydet", "unet"], "by seed 0"


def test_hd95_says_over_how_many_images_it_is() -> None:
    (line,) = only([result("unet", np.full(IMAGES, 0.8))]).lines
    assert line.without_hd95 == IMAGES - 1
    assert "| 4.0 (1) |" in markdown([only([result("unet", np.full(IMAGES, 0.8))])])


def test_paired_tests_are_those_of_scipy_on_patients() -> None:
    rng = np.random.default_rng(1)
    ours = rng.uniform(0.8, 0.9, IMAGES)
    others = {"unet": ours - rng.uniform(0, 0.1, IMAGES), "otsu": ours - rng.normal(0, 0.1, IMAGES)}
    table = only([result("graydet", ours), *(result(name, v) for name, v in others.items())])
    assert table.reference == "graydet"
    assert next(line.p for line in table.lines if line.method == "graydet") is None
    p_values = {
        name: stats.wilcoxon((ours - v).reshape(-1, 2).mean(axis=1)).pvalue
        for name, v in others.items()
    }
    smaller, larger = sorted(p_values, key=lambda name: p_values[name])
    lines = {line.method: line for line in table.lines}
    assert lines[smaller].p == pytest.approx(min(1, 2 * p_values[smaller]))
    assert lines[larger].p == pytest.approx(max(2 * p_values[smaller], p_values[larger]))
    gain = lines["unet"].gain
    assert gain is not None
    assert gain.gain.mean == pytest.approx((ours - others["unet"]).mean())


def test_the_reference_is_the_refined_one_or_the_one_asked_for() -> None:
    scores = np.linspace(0.5, 0.9, IMAGES)
    results = [result(name, scores) for name in ("unet", "graydet", "graydet+refiner")]
    assert only(results).reference == "graydet+refiner"
    assert only(results, "unet").reference == "unet"
    assert only(results, "paper").reference is None


def test_who_fails_where_others_do_not_scores_nothing_there() -> None:
    scores = np.full(IMAGES, 0.8)
    table = only([result("graydet", scores), result("unet", scores, failed=3)])
    lines = {line.method: line for line in table.lines}
    assert lines["unet"].dice.mean == pytest.approx(0.8 * (IMAGES - 1) / IMAGES)
    assert (lines["unet"].failed, lines["graydet"].failed) == (1, 0)
    table = only([result("graydet", scores, failed=3), result("unet", scores, failed=3)])
    assert [line.dice.mean for line in table.lines] == [pytest.approx(0.8)] * 2
    assert table.lines[0].dice.images == IMAGES - 1


def test_where_there_is_nothing_and_nothing_is_found_no_mean_rises() -> None:
    """Hands and chests in one folder: each image is about one class."""

    def about(method: str, extra: float) -> JobResult:
        values = {"iou": 1.0, "dice": 1.0, "fn": 0.0, "fp": 0.0, "hd95": 0.0, "ceiling": 1.0}
        made = result(method, np.full(4, 0.8))
        empty = [
            Score(image=f"i{n}", patient=f"p{n // 2}", label="bone", nothing=True, **values)
            for n in range(4)
        ]
        if extra:  # something is found in the first image that is not there
            empty[0] = Score(image="i0", patient="p0", label="bone", dice=0.0, iou=0.0, fp=1.0)
        return made.model_copy(update={"scores": {"b": [*made.scores["b"], *empty]}})

    right, wrong = about("graydet", 0), about("unet", 1)
    table = only([right])
    assert table.lines[0].dice.mean == pytest.approx(0.8) and table.ceiling == 0.8
    assert table.lines[0].dice.images == 4 and table.lines[0].hd95 == 4.0
    dices = {line.method: line.dice.mean for line in only([right, wrong]).lines}
    assert dices["graydet"] == pytest.approx((0.9 + 3 * 0.8) / 4), "it was right where one was not"
    assert dices["unet"] == pytest.approx((0.4 + 3 * 0.8) / 4)


def test_numbers_of_images_and_budgets_are_not_mixed() -> None:
    scores = np.linspace(0.5, 0.9, IMAGES)
    small, large = result("unet", scores, n=5), result("unet", scores, n=25)
    longer = result("unet", scores, n=25)
    longer.job = Job(method="unet", train="a", n=25, seed=0, iterations=900)
    tables = summarise([large, longer, small])
    assert [table.n for table in tables] == [5, 25]
    assert {line.method for line in tables[1].lines} == {"unet", "unet 900it"}
    (curve,) = learning_curves(tables)
    assert "| unet | 0.700 | 0.700 |" in curve
    assert "| unet 900it | – | 0.700 |" in curve


def test_files(tmp_path: Path) -> None:
    scores = np.linspace(0.5, 0.9, IMAGES)
    results = [result("graydet", scores), result("unet", scores - 0.1, failed=2)]
    tables = summarise(results)
    paths = write_tables(tables, results, tmp_path)
    assert [path.name for path in paths] == [MARKDOWN, JSON, CSV]
    text = (tmp_path / MARKDOWN).read_text()
    assert text == markdown(tables)
    assert "tested on b (20 images of 10 patients, ceiling (IoU) 0.800); 2026-01-01, cpu" in text
    assert "| graydet | 0 | 2.00 M | 150 | 0.700 [" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    document = json.loads((tmp_path / JSON).read_text())
    assert document["tables"][0]["lines"][0]["dice"]["mean"] == pytest.approx(0.7)
    rows = list(csv.DictReader(io.StringIO(scores_csv(results))))
    assert len(rows) == 2 * IMAGES
    assert (rows[IMAGES + 2]["error"], rows[IMAGES + 2]["dice"]) == ("no", "")
    assert float(rows[1]["dice"]) == pytest.approx(scores[1])
