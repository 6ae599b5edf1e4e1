"""Figures of a comparison: every method on every test set, with intervals and paired tests.

A method's score on an image is the mean over labels and seeds; figures are means over images with
95 % intervals by patient (`workflows.statistics`). What the reference wins over a method in DSC is
tested in pairs (Wilcoxon on patients), over the seeds that both have, since a seed decides which
images are learned from; p-values are Holm's over the methods of a table. Lines are in the order of
the seeds that all have. An image that all methods fail on is in no figure; one that only some fail
on has DSC = IoU = 0 for these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev

from napari_graydet.workflows.compare.results import JobResult, Score
from napari_graydet.workflows.compare.statistics import (
    Difference,
    Interval,
    compare_paired,
    confidence,
    holm,
)

REFERENCES = ("graydet+refiner", "graydet")
"""What the others are tested against unless another is named: the first of these that is there."""


@dataclass(frozen=True)
class Line:
    """One method in one table.

    Parameters
    ----------
    method
        With its budget, where that is not its own.
    seeds
        Of its jobs.
    dice, iou
        Means over images.
    fn, fp, hd95
        Means over the images in which they are defined.
    without_hd95
        Images in which HD95 is not, because nothing was found.
    between_seeds
        Standard deviation of the mean DSC between seeds; None with one seed.
    failed
        Images that it failed on, all seeds together.
    weights, steps
        Number of weights; optimiser steps of all its parts.
    train_seconds, train_memory, train_gpu
        Means over seeds; MiB.
    image_seconds, image_memory
        Median over images; peak in MiB while testing.
    gain, p
        What the reference wins over it in DSC, and Holm's p; None for the reference itself.
    """

    method: str
    seeds: tuple[int, ...]
    dice: Interval
    iou: Interval
    fn: float | None
    fp: float | None
    hd95: float | None
    without_hd95: int
    between_seeds: float | None
    failed: int
    weights: int | None
    steps: int
    train_seconds: float
    train_memory: float | None
    train_gpu: float | None
    image_seconds: float | None
    image_memory: float | None
    gain: Difference | None = None
    p: float | None = None


@dataclass(frozen=True)
class Table:
    """All methods that were trained on one number of images and tested on one set.

    Parameters
    ----------
    train, n, test
        Training set and number of its images; test set.
    ceiling
        Mean IoU of the best single gray ranges in the true ROIs; see `workflows.scoring`.
    reference
        Method that the gains are of; None if there is none.
    dates, devices
        First and last day; where it was computed.
    lines
        The methods, best first.
    """

    train: str
    n: int
    test: str
    ceiling: float | None
    reference: str | None
    dates: tuple[str, ...]
    devices: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """What it is about, in one line."""
        size = self.lines[0].dice
        ceiling = "" if self.ceiling is None else f", ceiling (IoU) {self.ceiling:.3f}"
        return (
            f"Trained on {self.n} of {self.train}, tested on {self.test} ({size.images} images of "
            f"{size.patients} patients{ceiling}); {' to '.join(self.dates)}, "
            f"{', '.join(self.devices)}"
        )


@dataclass(frozen=True)
class _Entry:
    """One method's runs in one table: a job and its scores on the images that count."""

    name: str
    runs: tuple[tuple[JobResult, tuple[Score, ...]], ...]

    @property
    def scores(self) -> list[Score]:
        return [score for _, scores in self.runs for score in scores]

    @property
    def seeds(self) -> set[int]:
        return {result.job.seed for result, _ in self.runs}

    def per_image(self, figure: str, seeds: Collection[int] | None = None) -> dict[str, float]:
        """Return DSC or IoU of each image: the mean over labels and seeds, 0 where it failed."""
        values: dict[str, list[float]] = defaultdict(list)
        for result, scores in self.runs:
            if seeds is None or result.job.seed in seeds:
                for score in scores:
                    values[score.image].append(getattr(score, figure) or 0.0)
        return {image: fmean(found) for image, found in values.items()}


def summarise(results: Iterable[JobResult], reference: str | None = None) -> list[Table]:
    """Make the tables of all results: one for each training set, number of images and test set.

    Parameters
    ----------
    results
        Of jobs in any order.
    reference
        Method that the others are tested against; None takes the first of `REFERENCES` there is.
    """
    groups: dict[tuple[str, int, str], list[JobResult]] = defaultdict(list)
    for result in results:
        for test in result.scores:
            groups[result.job.train, result.job.n, test].append(result)
    made = [_table(*key, groups[key], reference) for key in sorted(groups)]
    return [table for table in made if table.lines]


def _table(
    train: str, n: int, test: str, results: Sequence[JobResult], reference: str | None
) -> Table:
    entries = _entries(results, test)
    lines = {entry.name: _line(entry, test) for entry in entries if entry.scores}
    against = _reference(results, reference)
    if against in lines:
        lines = _with_tests(lines, entries, str(against))
    dates = sorted(result.date for result in results)
    order = _order(entries)
    return Table(
        train=train,
        n=n,
        test=test,
        ceiling=_mean(score.ceiling for entry in entries for score in entry.scores),
        reference=against if against in lines else None,
        dates=tuple(dict.fromkeys((dates[0], dates[-1]))),
        devices=tuple(sorted({result.device for result in results})),
        lines=tuple(sorted(lines.values(), key=lambda line: -order[line.method])),
    )


def _order(entries: Sequence[_Entry]) -> dict[str, float]:
    """Return each method's mean DSC over the seeds that all have, over its own if there is none."""
    common = set.intersection(*(entry.seeds for entry in entries)) if entries else set()
    found = {entry.name: entry.per_image("dice", common or None) for entry in entries}
    return {name: fmean(values.values()) for name, values in found.items() if values}


def _entries(results: Sequence[JobResult], test: str) -> list[_Entry]:
    """Return the methods' runs, on what counts: an image and label that a method could score.

    Where there is nothing to find and no method finds anything all are right; it is in no mean.
    """
    counted = {
        (score.image, score.label)
        for result in results
        for score in result.scores[test]
        if score.error is None and not score.nothing
    }
    runs: dict[str, list[tuple[JobResult, tuple[Score, ...]]]] = defaultdict(list)
    for result in sorted(results, key=lambda result: result.job.seed):
        scores = tuple(s for s in result.scores[test] if (s.image, s.label) in counted)
        runs[result.job.title].append((result, scores))
    return [_Entry(name, tuple(of_method)) for name, of_method in runs.items()]


def _reference(results: Sequence[JobResult], asked: str | None) -> str | None:
    """Return the title of the jobs that the others are compared with."""
    for name in (asked,) if asked is not None else REFERENCES:
        titles = [r.job.title for r in results if name in (r.job.method, r.job.title)]
        if titles:
            return min(titles, key=len)
    return None


def _line(entry: _Entry, test: str) -> Line:
    jobs = [result for result, _ in entry.runs]
    patients = {score.image: score.patient for score in entry.scores}
    intervals = {}
    for figure in ("dice", "iou"):
        values = entry.per_image(figure)
        intervals[figure] = confidence(list(values.values()), [patients[i] for i in values])
    means = [fmean(score.dice or 0.0 for score in scores) for _, scores in entry.runs]
    return Line(
        method=entry.name,
        seeds=tuple(result.job.seed for result in jobs),
        dice=intervals["dice"],
        iou=intervals["iou"],
        fn=_mean(score.fn for score in entry.scores),
        fp=_mean(score.fp for score in entry.scores),
        hd95=_mean(score.hd95 for score in entry.scores),
        without_hd95=len({score.image for score in entry.scores if score.hd95 is None}),
        between_seeds=stdev(means) if len(means) > 1 else None,
        failed=len({(r.job.seed, s.image) for r, scores in entry.runs for s in scores if s.error}),
        weights=jobs[0].weights,
        steps=round(fmean(sum(result.steps.values()) for result in jobs)),
        train_seconds=fmean(result.training.seconds for result in jobs),
        train_memory=_mean(result.training.memory for result in jobs),
        train_gpu=_mean(result.training.gpu for result in jobs),
        image_seconds=_median(score.seconds for score in entry.scores),
        image_memory=_mean(result.inference[test].memory for result in jobs),
    )


def _with_tests(
    lines: Mapping[str, Line], entries: Sequence[_Entry], reference: str
) -> dict[str, Line]:
    """Compare the reference with every other method, image by image."""
    patients = {score.image: score.patient for entry in entries for score in entry.scores}
    best = next(entry for entry in entries if entry.name == reference)
    gains: dict[str, Difference] = {}
    for entry in entries:
        seeds = best.seeds & entry.seeds
        ours, theirs = best.per_image("dice", seeds), entry.per_image("dice", seeds)
        common = [image for image in ours if image in theirs]
        if entry is not best and common:
            gains[entry.name] = compare_paired(
                [ours[image] for image in common],
                [theirs[image] for image in common],
                [patients[image] for image in common],
            )
    corrected = holm({name: gain.p_wilcoxon for name, gain in gains.items()})
    return {
        name: replace(line, gain=gains.get(name), p=corrected.get(name))
        for name, line in lines.items()
    }


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None


def _median(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return median(defined) if defined else None
