"""Images with the truth -> what the box detector learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from napari_graydet.core.sample import Sample

if TYPE_CHECKING:
    from napari_graydet.models.boxes.samples import BoxSample


def box_samples(samples: Iterable[Sample], classes: Sequence[str]) -> list[BoxSample]:
    """Cut the parts of images out for the training of the box detector.

    The mask of a part's ROI is that of the whole label: what a box there should catch.
    """
    from napari_graydet.models.boxes.samples import crop_sample  # late: it loads torch

    return [
        crop_sample(sample.image, sample.mask, roi, classes.index(sample.label), sample.kind)
        for sample in samples
        for roi in sample.rois
    ]
