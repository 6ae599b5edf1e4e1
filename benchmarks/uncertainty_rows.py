"""Signs of doubt of images, kept from run to run; part of benchmarks/uncertainty.py."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from napari_graydet.core.metrics import dice
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Mask, box_mask
from napari_graydet.core.uncertainty import signs_of
from napari_graydet.errors import GraydetError
from napari_graydet.io.weights import read_card
from napari_graydet.models.loading import (
    load_box_detector,
    load_refiner,
    load_roi_detector,
    shipped,
)
from napari_graydet.workflows import shipped_data as td

MOVED_EACH = 2
"""Parts of an image that get a moved ROI."""

Row = dict[str, Any]


class Line:
    """The detectors, one after the other, and what they say about an image.

    Loaded when the first image comes that no earlier run has measured.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._paths = {"roi": options.roi_weights, "boxes": options.box_weights}
        self._refiner_path = options.refiner
        self.digests = {k: read_card(p or shipped(k)).sha256 for k, p in self._paths.items()}
        if options.refiner is not None:
            self.digests["refiner"] = read_card(options.refiner).sha256
        self.key = "-".join(digest[:8] for digest in self.digests.values())
        self._rois: Any = None
        self._boxes: Any = None
        self._refiner: Any = None

    def _load(self, *, all_parts: bool) -> None:
        if self._boxes is None:
            self._boxes = load_box_detector(self._paths["boxes"], device="cpu")
        if all_parts and self._rois is None:
            self._rois = load_roi_detector(self._paths["roi"], device="cpu")
            if self._refiner_path is not None:
                self._refiner = load_refiner(self._refiner_path, device="cpu")

    def __call__(self, sample: td.Sample) -> Row:
        """Return the DSC of the image's mask, and the signs and area of every box."""
        self._load(all_parts=True)
        rois = [p for p in self._rois.detect(sample.image) if p.label == sample.label]
        pairs = [(roi, self._box(sample, roi.roi)) for roi in rois]
        found = [(roi, box) for roi, box in pairs if box is not None]
        base = box_mask(sample.image.pixels, [box.box for _, box in found])
        refined = None
        if self._refiner is not None and found:
            residuals = self._refiner.refine(
                sample.image, [box for _, box in found], {sample.label: base}
            )
            refined = residuals[sample.label].apply(base) if sample.label in residuals else None
        return row_of(sample, found, base, refined)

    def moved(self, sample: td.Sample) -> Row:
        """Return the same of the box in a true ROI, moved; the true part is what is looked for."""
        self._load(all_parts=False)
        rng = np.random.default_rng([td.SEED, _number(sample)])
        parts = sample.part_rois()
        rows = []
        for part in rng.permutation(list(parts))[:MOVED_EACH]:
            roi = moved_roi(parts[int(part)], sample.image.shape, rng)
            box = None if roi is None else self._box(sample, roi)
            if roi is None or box is None:
                continue
            truth = sample.parts == part
            base = box_mask(sample.image.pixels, [box.box])
            rows.append(
                {
                    "dice": dice(base, truth),
                    "signs": [asdict(signs_of(sample.image, box))],
                    "areas": [1],
                }
            )
        return {"dice": 0.0, "several": rows}

    def _box(self, sample: td.Sample, roi: RoiBox) -> BoxProposal | None:
        try:
            found = self._boxes.detect(sample.image, roi, label=sample.label, alternatives=0)
        except GraydetError:  # an ROI of a single gray value has no box
            return None
        return next(iter(found), None)


def row_of(
    sample: td.Sample,
    found: list[tuple[RoiProposal, BoxProposal]],
    base: Mask,
    refined: Mask | None = None,
) -> Row:
    """Return what is kept of an image."""
    image = sample.image
    signs = [
        asdict(signs_of(image, box, roi_score=roi.score, refined=refined)) for roi, box in found
    ]
    areas = [int(np.count_nonzero(box.box.inside(image.pixels)[1])) for _, box in found]
    mask = base if refined is None else refined
    return {"dice": dice(mask, sample.mask), "signs": signs, "areas": areas}


def moved_roi(roi: RoiBox, shape: tuple[int, int], rng: np.random.Generator) -> RoiBox | None:
    """Return an ROI of another place and size, None where nothing of it is left.

    A quarter of the ROI's size is one deviation of the shift, a factor of 1.4 one of the size.
    """
    dx, dy = rng.normal(0, 0.25, 2) * (roi.width, roi.height)
    width, height = np.exp(rng.normal(0, 0.35, 2)) * (roi.width, roi.height)
    x, y = (roi.x0 + roi.x1) / 2 + dx, (roi.y0 + roi.y1) / 2 + dy
    try:
        return RoiBox(x - width / 2, y - height / 2, x + width / 2, y + height / 2).clip(shape)
    except GraydetError:
        return None


def _number(sample: td.Sample) -> int:
    return int(hashlib.sha256(sample.stem.encode()).hexdigest()[:8], 16)


def rows_of(
    name: str,
    samples: Iterable[td.Sample] | list[Callable[[], td.Sample]],
    work: Path,
    measure: Callable[[td.Sample], Row],
) -> list[Row]:
    """Return one row per image; rows of an earlier run are read back."""
    log = work / f"{name.replace(',', '').replace(' ', '_')}.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    known = {row["key"]: row for row in map(json.loads, lines)}
    rows = []
    for item in samples:
        sample = item() if callable(item) else item
        key = f"{sample.stem} {hashlib.sha256(sample.image.pixels.tobytes()).hexdigest()[:12]}"
        if key not in known:
            known[key] = {"key": key} | measure(sample)
            with log.open("a") as file:
                file.write(json.dumps(known[key]) + "\n")
        row = known[key]
        rows += row.get("several", [row])
    return rows
