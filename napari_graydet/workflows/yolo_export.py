"""Accepted annotations -> a YOLO detection data set that ultralytics trains on.

``images/{train,val}/*.png`` are windowed 8-bit copies, since ultralytics keeps only the high byte
of 16-bit images; ``labels/{train,val}/*.txt`` hold one line ``class cx cy w h`` per ROI; an empty
file says "nothing here". ``data.yaml`` names no root folder, so the data set can be moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.io.formats.yolo import format_data_yaml, format_labels
from napari_graydet.project.schema import Annotation

VAL_FRACTION = 0.2
SIDES = ("train", "val")


def split_names(groups: Mapping[str, str], seed: int, val_fraction: float) -> dict[str, str]:
    """Put names into "train" or "val" so that a group is never on both sides.

    Groups are ordered by a hash of seed and group, and the first ones become "val": as images are
    added, nearly all others stay where they were, which a new shuffle would not grant.

    Parameters
    ----------
    groups
        Group (a patient, or an image's hash) of each name.
    seed
        Another seed, another split.
    val_fraction
        Share of groups in "val"; at least one group on either side if there are two.
    """
    ordered = sorted(set(groups.values()), key=lambda group: _digest(seed, group))
    wanted = round(val_fraction * len(ordered))
    count = min(max(wanted, 1), len(ordered) - 1)
    val = set(ordered[:count])
    return {name: "val" if group in val else "train" for name, group in groups.items()}


def _digest(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


class YoloExport:
    """Writes the data set into a folder, image by image.

    Parameters
    ----------
    folder
        New folder; made here.
    classes
        Class names; their places are the class ids.
    split
        Side of each image name.
    """

    def __init__(self, folder: Path, classes: list[str], split: Mapping[str, str]) -> None:
        self._folder, self._classes, self._split = folder, classes, split
        for kind in ("images", "labels"):
            for side in SIDES:
                (folder / kind / side).mkdir(parents=True)

    def count(self, side: str) -> int:
        """Return the number of images on one side."""
        return sum(where == side for where in self._split.values())

    def add(self, name: str, image: GrayImage, annotation: Annotation) -> None:
        """Write one image and its labels."""
        side = self._split[name]
        picture = Image.fromarray(image.display8())
        picture.save(self._folder / "images" / side / f"{name}.png")
        text = format_labels(detection_boxes(image, annotation), self._classes, image.shape)
        _write_text(self._folder / "labels" / side / f"{name}.txt", text)

    def finish(self) -> list[str]:
        """Write ``data.yaml``; return notices."""
        val = "val" if self.count("val") else "train"
        text = format_data_yaml(self._classes, val=f"images/{val}")
        _write_text(self._folder / "data.yaml", text)
        if val == "val":
            return []
        return ["YOLO: one patient or image only, so validation uses the training images."]


def detection_boxes(image: GrayImage, annotation: Annotation) -> Iterator[tuple[str, RoiBox]]:
    """Yield class and rectangle of each object: its ROI, clipped to the image.

    A class that has boxes or painted pixels but no ROI gives its boxes' extents, or else the
    bounding box of its pixels: a label file without it would teach that nothing is there.
    """
    for roi in annotation.rois:
        yield from _clipped(roi.label, roi.roi_box, image)
    without = set(annotation.labels) - {roi.label for roi in annotation.rois}
    for box in annotation.boxes:
        if box.label in without:
            yield from _clipped(box.label, box.roi_box, image)
    for label in sorted(without - {box.label for box in annotation.boxes}):
        mask = annotation.mask(image.pixels, label)
        if mask.any():
            yield label, RoiBox.of_mask(mask)


def _clipped(label: str, box: RoiBox, image: GrayImage) -> Iterator[tuple[str, RoiBox]]:
    try:
        yield label, box.clip(image.shape)
    except GeometryError:  # it lies outside: nothing of it can be seen
        return


def _write_text(path: Path, text: str) -> None:
    """Write into the staged export, which becomes visible as a whole."""
    path.write_text(text, encoding="utf-8", newline="\n")
