"""What the ROI detector sees in training: pictures scaled, cut, turned, mirrored and re-exposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.models.roi.views import PADDING

KEPT_SIZE = 640
"""Longest side in which pictures are kept for training."""

_LEAST_VISIBLE = 0.25
"""A box cut by the frame counts while so much of its area is left."""

_LEAST_SIDE = 4.0
"""Shortest side in canvas pixels of a box that counts."""

Boxes = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Example:
    """A picture as kept for training.

    Parameters
    ----------
    gray
        (h, w) uint8, longest side at most `KEPT_SIZE`.
    boxes
        (N, 4) float32 x0, y0, x1, y1 in its pixels.
    class_ids
        (N,) class of each box.
    kind
        Where it comes from.
    """

    gray: torch.Tensor
    boxes: Boxes
    class_ids: Ints
    kind: str

    @classmethod
    def of(
        cls, image: GrayImage, rois: Sequence[RoiBox], class_ids: Sequence[int], kind: str
    ) -> Example:
        """Window an image to 8 bit and scale it down if it is large."""
        gray = torch.from_numpy(image.display8())
        scale = min(1.0, KEPT_SIZE / max(image.shape))
        boxes = np.array([roi.xyxy for roi in rois], dtype=np.float32).reshape(-1, 4) * scale
        if scale < 1:
            resized = resize(gray.float(), round(image.height * scale), round(image.width * scale))
            gray = resized.round().clamp(0, 255).to(torch.uint8)
        return cls(gray, boxes, np.array(class_ids, dtype=np.int64), kind)


def resize(gray: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Scale a (h, w) float tensor, averaging where it gets smaller."""
    size = (max(height, 1), max(width, 1))
    return functional.interpolate(gray[None, None], size, mode="bilinear", antialias=True)[0, 0]


def augment(
    example: Example, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, Boxes, Ints]:
    """Put a varied picture on a canvas.

    Returns
    -------
    canvas
        (size, size) float32 in 0..1.
    boxes
        (N, 4) float32 centre x, centre y, width, height, as shares of the canvas.
    class_ids
        (N,) class of each box that is left.
    """
    gray, boxes = _turn(example.gray, example.boxes, rng)
    height, width = gray.shape
    zoom = size / max(height, width) * np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    new_height, new_width = round(height * zoom * stretch), round(width * zoom / stretch)
    picture = resize(gray.float() / 255, new_height, new_width)
    picture = vary_tones(picture, rng)
    boxes = boxes * np.array([new_width / width, new_height / height] * 2, dtype=np.float32)
    dx, dy = (_offset(size - extent, rng) for extent in (new_width, new_height))
    canvas = _place(picture, dx, dy, size)
    shares, kept = _visible(boxes + np.array([dx, dy] * 2, dtype=np.float32), size)
    return canvas, shares, example.class_ids[kept]


def _offset(room: int, rng: np.random.Generator) -> int:
    """Anywhere in the room that is left, or that is too little."""
    return int(rng.integers(min(room, 0), max(room, 0) + 1))


def _turn(gray: torch.Tensor, boxes: Boxes, rng: np.random.Generator) -> tuple[torch.Tensor, Boxes]:
    """Mirror half of the pictures; turn some by quarters."""
    if rng.random() < 0.5:
        gray = gray.flip(1)
        boxes = np.stack(
            [gray.shape[1] - boxes[:, 2], boxes[:, 1], gray.shape[1] - boxes[:, 0], boxes[:, 3]],
            axis=1,
        )
    quarters = int(rng.integers(1, 4)) if rng.random() < 0.15 else 0
    for _ in range(quarters):  # counter-clockwise: x' = y, y' = width - x
        width = gray.shape[1]
        gray = gray.rot90()
        boxes = np.stack(
            [boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]], axis=1
        )
    return gray, boxes


def vary_tones(picture: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Vary window, gamma, evenness, polarity and noise of a picture in 0..1."""
    black, white = rng.uniform(-0.12, 0.12), rng.uniform(0.8, 1.2)
    picture = ((picture - black) / (white - black)).clamp(0, 1)
    picture = picture ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.3:
        height, width = picture.shape
        y, x = rng.uniform(-0.35, 0.35, 2)
        ramp = torch.linspace(-y, y, height)[:, None] + torch.linspace(-x, x, width)[None]
        picture = picture * (1 + ramp)
    if rng.random() < 0.12:
        picture = 1 - picture
    if rng.random() < 0.3:  # pale or dark pictures that use a part of the gray scale only
        low, high = rng.uniform(0, 0.35), rng.uniform(0.35, 1)
        picture = low + picture * max(high - low, 0.2)
    if rng.random() < 0.3:
        noise = rng.standard_normal(tuple(picture.shape), dtype=np.float32)
        picture = picture + torch.from_numpy(noise) * float(rng.uniform(0, 0.06))
    return picture.clamp(0, 1)


def _place(picture: torch.Tensor, dx: int, dy: int, size: int) -> torch.Tensor:
    height, width = picture.shape
    canvas = torch.full((size, size), PADDING)
    rows = slice(max(dy, 0), min(dy + height, size))
    cols = slice(max(dx, 0), min(dx + width, size))
    canvas[rows, cols] = picture[rows.start - dy : rows.stop - dy, cols.start - dx : cols.stop - dx]
    return canvas


def _visible(boxes: Boxes, size: int) -> tuple[Boxes, npt.NDArray[np.bool_]]:
    """Cut boxes at the canvas, drop those that are mostly gone; to shares, centre and size.

    Returns also which boxes are left.
    """
    cut = boxes.clip(0, size)
    extent, full = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    keep = extent.prod(1) >= _LEAST_VISIBLE * full.prod(1)
    keep &= extent.min(axis=1, initial=size) >= _LEAST_SIDE
    centre = (cut[:, :2] + cut[:, 2:]) / 2
    shares = np.concatenate([centre, extent], axis=1)[keep] / size
    return np.asarray(shares, dtype=np.float32), keep


def empty_scene(size: int, rng: np.random.Generator) -> torch.Tensor:
    """Return a (size, size) picture of nothing: noise of some grain around some gray."""
    grain = int(rng.choice([1, 2, 8, 32]))
    small = rng.standard_normal((size // grain + 1, size // grain + 1), dtype=np.float32)
    noise = resize(torch.from_numpy(small), size, size)
    return (float(rng.uniform()) + noise * float(rng.uniform(0, 0.4))).clamp(0, 1)
