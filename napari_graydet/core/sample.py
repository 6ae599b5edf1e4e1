"""An image with the truth about one label: what is learned from and scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox

MARGIN = 0.03
"""An ROI is the box of its part grown by this fraction of its size on each side."""

SMALLEST_SHARE = 0.001
SMALLEST_PIXELS = 16
"""Parts below this share of the image, or with fewer pixels, get no ROI."""

LabelMap = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with the truth about one label.

    Parameters
    ----------
    image
        The radiograph.
    label
        Class of the mask.
    parts
        (H, W) uint16, 0 background, else the id of one part; every part gets an ROI of its own.
    kind
        Where it comes from, so that figures can be told apart: a kind of phantom, the name of a
        public data set, "project" or "folders".
    stem
        Name that is unique within its kind.
    """

    image: GrayImage
    label: str
    parts: LabelMap
    kind: str
    stem: str

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The (H, W) mask of all parts."""
        return np.asarray(self.parts > 0)

    def part_rois(self, margin: float = MARGIN) -> dict[int, RoiBox]:
        """Return the ROI of every part that is large enough, by part id."""
        return part_rois(self.parts, margin)

    @property
    def rois(self) -> list[RoiBox]:
        """The ROIs of all parts that are large enough."""
        return list(self.part_rois().values())


def connected_parts(mask: npt.NDArray[np.bool_]) -> LabelMap:
    """Number the 8-connected parts of a (H, W) mask from 1; beyond 65535 they share that id."""
    labelled: LabelMap = measure.label(mask, connectivity=2)  # type: ignore[no-untyped-call]
    return np.minimum(labelled, np.iinfo(np.uint16).max).astype(np.uint16)


def part_rois(parts: LabelMap, margin: float = MARGIN) -> dict[int, RoiBox]:
    """Return the ROI of every part by id: its bounding box grown by `margin` on each side.

    Parts below `SMALLEST_SHARE` of the image or `SMALLEST_PIXELS` pixels are dropped.
    """
    areas = np.bincount(parts.ravel())
    smallest = max(SMALLEST_PIXELS, SMALLEST_SHARE * parts.size)
    shape = (parts.shape[0], parts.shape[1])
    found: dict[int, RoiBox] = {}
    for part_id, window in enumerate(ndimage.find_objects(parts), start=1):
        if window is None or areas[part_id] < smallest:
            continue
        rows, cols = window
        box = RoiBox(float(cols.start), float(rows.start), float(cols.stop), float(rows.stop))
        found[part_id] = box.grow(margin, shape)
    return found
