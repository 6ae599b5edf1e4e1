"""A comparison as files: tables as Markdown and JSON, every image's scores as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from napari_graydet.errors import ExportError
from napari_graydet.io.files import atomic_write_text
from napari_graydet.workflows.compare.results import JobResult, Score
from napari_graydet.workflows.compare.statistics import Interval
from napari_graydet.workflows.compare.summary import Line, Table
from napari_graydet.workflows.evaluation.report import markdown_table

MARKDOWN, CSV, JSON = "comparison.md", "scores.csv", "comparison.json"

HEADINGS = (
    "method",
    "seeds",
    "weights",
    "steps",
    "DSC [95 %]",
    "SD of seeds",
    "IoU [95 %]",
    "FN",
    "FP",
    "HD95 px",
    "failed",
    "training s",
    "MiB",
    "GPU MiB",
    "s / image",
    "MiB",
    "gain [95 %]",
    "p (Holm)",
)


def write_tables(tables: Sequence[Table], results: Sequence[JobResult], folder: Path) -> list[Path]:
    """Write ``comparison.md``, ``comparison.json`` and ``scores.csv``; return their paths.

    Raises
    ------
    ExportError
        If one cannot be written.
    """
    texts = {
        MARKDOWN: markdown(tables),
        JSON: json.dumps(document(tables), indent=1) + "\n",
        CSV: scores_csv(results),
    }
    for name, text in texts.items():
        atomic_write_text(folder / name, text, error=ExportError)
    return [folder / name for name in texts]


def document(tables: Sequence[Table]) -> dict[str, object]:
    """Return the tables as plain JSON types."""
    return {"kind": "napari-graydet comparison", "tables": [asdict(table) for table in tables]}


def markdown(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown, then learning curves where there are several numbers."""
    parts = [f"### {table.title}\n\n{_table(table)}" for table in tables]
    return "\n".join([*parts, *learning_curves(tables)])


def _table(table: Table) -> str:
    rows = [cells(line) for line in table.lines]
    used = [i for i in range(len(HEADINGS)) if any(row[i] != NOTHING for row in rows)]
    text = markdown_table([HEADINGS[i] for i in used], [[row[i] for i in used] for row in rows])
    if table.reference is None:
        return text
    return (
        f"{text}\nGain: DSC of {table.reference} minus that of the method, on the same images and "
        "for the seeds that both have.\n"
    )


NOTHING = "–"
"""Stands for a figure that is not defined."""


def cells(line: Line) -> list[str]:
    """Return what stands in a line, by `HEADINGS`."""
    return [
        line.method,
        ", ".join(str(seed) for seed in line.seeds),
        NOTHING if not line.weights else f"{line.weights / 1e6:.2f} M",
        str(line.steps) if line.steps else NOTHING,
        shown_interval(line.dice),
        _shown(line.between_seeds, 4),
        shown_interval(line.iou),
        _shown(line.fn, 3),
        _shown(line.fp, 3),
        _shown(line.hd95, 1) + _without(line),
        str(line.failed) if line.failed else NOTHING,
        _shown(line.train_seconds, 0),
        _shown(line.train_memory, 0),
        _shown(line.train_gpu, 0),
        _shown(line.image_seconds, 3),
        _shown(line.image_memory, 0),
        NOTHING if line.gain is None else shown_interval(line.gain.gain, signed=True),
        NOTHING if line.p is None else _p(line.p),
    ]


def _without(line: Line) -> str:
    """Say over how many images HD95 is, where it is not over all."""
    images = line.dice.images
    return f" ({images - line.without_hd95})" if line.hd95 is not None and line.without_hd95 else ""


def learning_curves(tables: Sequence[Table]) -> list[str]:
    """Return for each training and test set with several numbers of images the DSC by method."""
    texts = []
    for train, test in dict.fromkeys((table.train, table.test) for table in tables):
        curve = [table for table in tables if (table.train, table.test) == (train, test)]
        if len(curve) < 2:
            continue
        by_n = {table.n: {line.method: line for line in table.lines} for table in curve}
        methods = dict.fromkeys(line.method for table in curve for line in table.lines)
        rows = [
            [
                name,
                *(f"{by_n[n][name].dice.mean:.3f}" if name in by_n[n] else NOTHING for n in by_n),
            ]
            for name in methods
        ]
        heading = f"### DSC by number of training images: {train}, tested on {test}\n"
        texts.append(f"{heading}\n{markdown_table(['method', *(f'N = {n}' for n in by_n)], rows)}")
    return texts


def shown_interval(interval: Interval, *, signed: bool = False) -> str:
    """Return a mean with its interval, three places."""
    sign = "+" if signed else ""
    ends = f"{interval.low:{sign}.3f}, {interval.high:{sign}.3f}"
    return f"{interval.mean:{sign}.3f} [{ends}]"


def _shown(value: float | None, places: int) -> str:
    return NOTHING if value is None else f"{value:.{places}f}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"


def scores_csv(results: Iterable[JobResult]) -> str:
    """Return every score of every job as CSV text; undefined figures are empty."""
    stream = io.StringIO()
    figures = list(Score.model_fields)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["train", "n", "seed", "method", "iterations", "minutes", "test", *figures])
    for result in results:
        job = result.job
        head = (job.train, job.n, job.seed, job.method, job.iterations, job.minutes)
        for test, scores in result.scores.items():
            writer.writerows((*head, test, *score.model_dump().values()) for score in scores)
    return stream.getvalue()
