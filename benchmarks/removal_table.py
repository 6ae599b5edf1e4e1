"""The tables of benchmarks.removal: what is left without a part, and how sure the loss is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_graydet.models.roi.metrics import FOUND
from napari_graydet.workflows.compare.statistics import compare_paired

WHOLE = "all parts"
CLEANED = "clean-up (added)"

Document = Mapping[str, Any]


@dataclass
class Column:
    """What a variant reached in one set: all ROIs or images of all seeds, one after the other."""

    images: list[str] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    ceiling: list[float] = field(default_factory=list)
    roi_ious: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Mean IoU over mean ceiling."""
        return float(np.mean(self.reached) / np.mean(self.ceiling))


@dataclass
class Variant:
    """The results of a variant over its seeds."""

    seeds: list[int] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Column] = field(default_factory=dict)


def tables(folder: Path) -> str:
    """Return Markdown of all results in a folder."""
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return "\n\n".join(
        f"### {kind}\n\n{_table([d for d in documents if d['kind'] == kind])}"
        for kind in ("boxes", "images", "rois")
        if any(d["kind"] == kind for d in documents)
    )


def _table(documents: Sequence[Document]) -> str:
    names = list(dict.fromkeys(d["variant"] for d in documents))
    names.sort(key=lambda name: name != WHOLE)
    whole_seeds = {d["seed"] for d in documents if d["variant"] == WHOLE}
    lines: list[str] = []
    for name in names:
        own = [d for d in documents if d["variant"] == name]
        paired = [d for d in own if d["seed"] in whole_seeds]
        found = gathered(paired or own)
        whole = gathered(
            [d for d in documents if d["variant"] == WHOLE and d["seed"] in found.seeds]
        )
        if not lines:
            head = ["without", "seeds", "steps, CPU s", "ms / ROI", *found.sets]
            lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        lines.append(_row(name, found, whole))
        if name == WHOLE and documents[0]["kind"] == "images":
            lines.append(_row(CLEANED, gathered(own, "cleaned"), found))
    return "\n".join(lines)


def gathered(documents: Sequence[Document], figure: str = "iou") -> Variant:
    """Put the seeds of a variant together."""
    found = Variant()
    for document in sorted(documents, key=lambda d: d["seed"]):
        found.seeds.append(document["seed"])
        found.training = document["training"] or found.training
        for name, scores in document["scores"].items():
            column = found.sets.setdefault(name, Column())
            column.images += scores["image"]
            column.reached += scores[figure]
            column.ceiling += scores["ceiling"]
            column.roi_ious += [
                value for of_image in scores.get("roi_iou", []) for value in of_image
            ]
            column.ms += scores.get("ms", [])
    return found


def difference(variant: Column, whole: Column) -> tuple[float, float, float]:
    """Return share of the variant less that of the whole, and its 95 % interval by image."""
    scale = float(np.mean(whole.ceiling))
    first, second = ([value / scale for value in c.reached] for c in (variant, whole))
    gain = compare_paired(first, second, whole.images).gain
    return gain.mean, gain.low, gain.high


def _row(name: str, found: Variant, whole: Variant) -> str:
    training = found.training
    ms = [value for column in found.sets.values() for value in column.ms]
    cells = [
        name,
        ", ".join(map(str, found.seeds)),
        f"{training['steps']}, {training['CPU seconds']:.0f}" if training else "",
        f"{np.mean(ms):.0f}" if ms else "",
    ]
    for key, column in found.sets.items():
        text = f"{column.share:.3f}"
        if name != WHOLE and whole.seeds == found.seeds:
            mean, low, high = difference(column, whole.sets[key])
            text += f" ({mean:+.3f} [{low:+.3f}, {high:+.3f}])"
        if column.roi_ious:
            ious = np.array(column.roi_ious)
            text += f"; ROI {ious.mean():.3f}, missed {(ious < FOUND).mean():.0%}"
        cells.append(text)
    return "| " + " | ".join(cells) + " |"
