"""The report of an evaluation: rows, means, and their tables as Markdown, CSV and JSON.

Means are over the images in which a figure is defined, and say over how many. ROI and interval
IoU are means over parts, the missed share is one of all true parts, IoU / ceiling is the ratio of
the means, and mAP50 the mean of the classes' average precision. Images with an error are counted
and are in no mean, nor is a label in an image where it was neither to be found nor found.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_graydet.errors import ExportError
from napari_graydet.io.files import atomic_write_text
from napari_graydet.workflows.evaluation.scoring import Row

HEADINGS = {
    "iou": "IoU",
    "dice": "DSC",
    "fn": "FN",
    "fp": "FP",
    "hd95": "HD95 px",
    "ceiling": "ceiling",
    "iou_over_ceiling": "IoU / ceiling",
    "interval_iou": "interval IoU",
    "explained": "explained",
    "roi_iou": "ROI IoU",
    "loss_roi": "loss by ROI",
    "loss_range": "loss by range",
    "loss_representation": "loss by representation",
    "loss_refinement": "loss by refinement",
}
"""Figures of a row, in the order of tables, and what they are called there.

Time is none of them: the same data and models give the same report.
"""

SUMMARY_HEADINGS = HEADINGS | {"missed": "missed", "map50": "mAP50"}

_COUNTS = {"parts": "parts", "rois": "ROIs", "missed": "missed"}


@dataclass(frozen=True)
class Mean:
    """A mean, None if nothing is defined, and the number of images or parts in it."""

    value: float | None
    n: int


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Parameters
    ----------
    method
        Name of what was evaluated.
    data
        Digest of the dataset.
    split
        Which side of a split it is.
    true_rois
        Whether the method was given the true ROIs.
    rows
        One per image and label.
    average_precision
        AP50 of the ROIs by label; empty if the method finds none, None without a true ROI.
    notices
        What the user should know, one line each.
    """

    method: str
    data: str
    split: str
    true_rois: bool
    rows: tuple[Row, ...]
    average_precision: Mapping[str, float | None] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the dataset."""
        return tuple(dict.fromkeys(row.label for row in self.rows))

    @property
    def failed(self) -> tuple[Row, ...]:
        """One row per image that could not be read or segmented."""
        return tuple({row.image: row for row in self.rows if row.error is not None}.values())

    @property
    def _scored(self) -> list[Row]:
        return [row for row in self.rows if row.error is None]

    @property
    def nothing(self) -> int:
        """Images in which a label was not to be found and was not found: they are in no mean."""
        return sum(row.nothing for row in self._scored)

    @property
    def images(self) -> int:
        """Number of images, the failed ones included."""
        return len({row.image for row in self.rows})

    def means(self, label: str | None = None) -> dict[str, Mean]:
        """Return the means of a label, or of all labels together, by figure."""
        rows = [r for r in self._scored if not r.nothing and label in (None, r.label)]
        figures = {name: _mean([getattr(row, name) for row in rows]) for name in HEADINGS}
        ceiling, iou = figures["ceiling"].value, figures["iou"].value
        if ceiling and iou is not None:
            figures["iou_over_ceiling"] = Mean(iou / ceiling, len(rows))
        overlaps = [value for row in rows for value in row.roi_ious]
        figures["roi_iou"] = _mean(overlaps)
        figures["interval_iou"] = _mean([value for row in rows for value in row.interval_ious])
        missed = sum(row.missed or 0 for row in rows)
        figures["missed"] = Mean(missed / len(overlaps) if overlaps else None, len(overlaps))
        figures["map50"] = _mean(
            [v for name, v in self.average_precision.items() if label in (None, name)]
        )
        return figures

    def document(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            "kind": "napari-graydet evaluation",
            "method": self.method,
            "data": self.data,
            "split": self.split,
            "true_rois": self.true_rois,
            "images": self.images,
            "notices": list(self.notices),
            "failed": [{"image": row.image, "error": row.error} for row in self.failed],
            "labels": {label: _plain(self.means(label)) for label in self.labels},
            "all": _plain(self.means()),
            "nothing": self.nothing,
            "rows": [_values(row) | {"nothing": row.nothing} for row in self.rows],
        }

    def json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.document(), indent=1) + "\n"

    def csv(self) -> str:
        """Return the rows as CSV text, figures rounded to 6 places; undefined ones are empty."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, ["image", "label", *_COUNTS, *HEADINGS, "error"])
        writer.writeheader()
        writer.writerows({**_values(row), "error": row.error or ""} for row in self.rows)
        return stream.getvalue().replace("\r\n", "\n")

    def markdown(self, *, rows: bool = True) -> str:
        """Return the means, and the rows worst first, as Markdown tables."""
        labels: list[str | None] = [*self.labels]
        if len(labels) > 1:
            labels.append(None)
        table = [
            [label or "all", str(self.images - len(self.failed)), *self._cells(label)]
            for label in labels
        ]
        text = f"{self.title()}\n\n" + markdown_table(
            ["label", "images", *SUMMARY_HEADINGS.values()], table
        )
        if not rows:
            return text
        worst = [
            [row.image, row.label, *(shown(getattr(row, n)) for n in HEADINGS), row.error or ""]
            for row in sorted(self.rows, key=lambda row: -1.0 if row.iou is None else row.iou)
        ]
        return f"{text}\n" + markdown_table(["image", "label", *HEADINGS.values(), "error"], worst)

    def title(self) -> str:
        """Return one line that says what was evaluated on what."""
        where = "true ROIs" if self.true_rois else "detected ROIs"
        failed = f", {len(self.failed)} of them failed" if self.failed else ""
        nothing = f" Rightly nothing found, and in no mean: {self.nothing}." if self.nothing else ""
        return (
            f"{self.method}, {where}, {self.split}: {self.images} images{failed}, "
            f"data {self.data[:12]}.{nothing}"
        )

    def _cells(self, label: str | None) -> list[str]:
        means = self.means(label)
        return [shown(means[name].value) for name in SUMMARY_HEADINGS]


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON, CSV or Markdown, as the file's ending says, completely or not at all.

    Raises
    ------
    ExportError
        If the ending is another, or the file cannot be written.
    """
    atomic_write_text(Path(path), _WRITERS[check_ending(path)](report))


def check_ending(path: Path) -> str:
    """Return a report file's ending, ".json", ".csv" or ".md"; raise `ExportError` for another."""
    ending = Path(path).suffix.lower()
    if ending not in _WRITERS:
        raise ExportError(
            f"Expected a file ending in {', '.join(_WRITERS)}, got {Path(path).name}; rename it."
        )
    return ending


_WRITERS: dict[str, Callable[[Report], str]] = {
    ".json": Report.json,
    ".csv": Report.csv,
    ".md": Report.markdown,
}


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _mean(values: Sequence[float | None]) -> Mean:
    defined = [value for value in values if value is not None]
    return Mean(sum(defined) / len(defined) if defined else None, len(defined))


def _plain(means: Mapping[str, Mean]) -> dict[str, Any]:
    return {name: {"mean": _rounded(mean.value), "n": mean.n} for name, mean in means.items()}


def _values(row: Row) -> dict[str, Any]:
    head = {"image": row.image, "label": row.label}
    counts = {name: getattr(row, name) for name in _COUNTS}
    figures = {name: _rounded(getattr(row, name)) for name in HEADINGS}
    return {**head, **counts, **figures, "error": row.error}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def shown(value: float | None) -> str:
    """Return a figure as tables show it."""
    return "–" if value is None else f"{value:.3f}"
