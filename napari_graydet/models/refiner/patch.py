"""What a refiner sees: the surroundings of an ROI on a fixed grid, with its box; and the way back.

A patch covers the ROI grown by a margin, so that what a detected ROI cut off can be added. It is
stretched to a square: its coordinates are the ROI's (edges at -1 and 1), those of the point cloud.

Coordinates, along x and along y alike:

- *Image*: continuous pixels; pixel i covers i to i + 1, its centre is i + 0.5. `RoiBox`, `GrayBox`
  and windows (slices of rows and columns) are in these.
- *ROI*: -1 and 1 at its edges, 0 in its middle: image = middle + ROI * (width or height) / 2. The
  patch reaches from -reach to reach, reach = 1 + 2 * margin; `Frame.axis` and the channels X and Y
  hold its pixel centres.
- *Patch*: ROI / reach, so that -1 and 1 are the edges of the patch; `_read` takes these. The
  ``size`` pixels of the patch share this length evenly.
- *Scene*: the whole image looked at as one ROI, without a margin (`Frame.scene`): its ROI and patch
  coordinates are the same.
- *Cut*: pixels of the window that `cut_out` read and perhaps shrunk: image = origin + step * cut.

Words:

- *look*: read a cut at the points of a patch, in image coordinates.
- *logits*: what a network says of a patch or of the scene, before the sigmoid; above 0 is yes.
- *voices*: the logits of an ROI's patch and of the scene, both read at the same image pixels
  (`on_pixels`) and clipped; their mean decides. `with_scene` does the same on the patch's pixels.
- *pieces*: the ROIs of one label, each with the logits of its patch; `painted` is the mask that
  all of them give, weighted with a *taper* where patches overlap.
- *part*: a connected region where logits say yes. `part_in` gives the ROI around what a patch
  shows, `parts_beyond` the ROIs around what only the scene shows.
- *free*: pixels that lie in no other ROI (`part_in`), or in none at all (`parts_beyond`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_graydet.core.boxes import GrayBox, bilinear
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox

Floats = npt.NDArray[np.floating]
Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Window = tuple[slice, slice]
Edges = tuple[Floats, Floats]
"""Bottom and top of a box in unit gray, each broadcastable to the patch."""

CHANNELS = 7
"""Gray, gray windowed per ROI, depth in the box, inside the box, inside the image, x, y."""

GRAY, WINDOWED, DEPTH, INSIDE, VALID, X, Y = range(CHANNELS)

_DEPTH_UNIT = 0.15
"""Unit gray from a box's face at which the depth channel saturates."""

_OVERSAMPLING = 1.25
"""Pixels of a cut per pixel of the patch at most: enough for sharp edges after the warp."""

_CUT_SLACK = 0.05
"""How much more than the patch is read, so that its border pixels have neighbours."""

_PART_MARGIN, _LEAST_PIXELS = 0.03, 2.0
"""An ROI around a part that was found: grown by as much as the true ROIs of training, and its
smallest side."""

_BESIDE = 0.2
"""Share of the largest part's area from which on another one in the same ROI is not left behind."""

_LEAST_SHARE, _LEAST_SURE, _LEAST_FREE = 0.01, 0.8, 0.4
"""Share of the image, mean probability, and share outside of all ROIs from which a part that they
missed is believed: a rim that an ROI cut off is none."""

_SURE = 8.0
"""Logits beyond this count as this, where patches overlap."""


@dataclass(frozen=True)
class Frame:
    """The grid of a patch.

    Parameters
    ----------
    size
        Pixels per side of the patch.
    margin
        By how much the patch exceeds the ROI on each side, as a share of the ROI's size.
    scene_size
        Pixels per side where the patch is the whole image.
    """

    size: int = 128
    margin: float = 0.15
    scene_size: int = 128

    @property
    def scene(self) -> Frame:
        """The grid of a whole image, with nothing around it."""
        return Frame(self.scene_size, 0.0)

    @property
    def reach(self) -> float:
        """Edge of the patch in coordinates of the ROI."""
        return 1 + 2 * self.margin

    @property
    def axis(self) -> Floats:
        """Pixel centres along either side of the patch, in coordinates of the ROI; (size,)."""
        return np.asarray(((np.arange(self.size) + 0.5) / self.size * 2 - 1) * self.reach)

    def grid(self) -> tuple[Float32, Float32]:
        """Return x and y of the patch's pixel centres in coordinates of the ROI; (size, size)."""
        x, y = np.meshgrid(self.axis, self.axis)
        return x.astype(np.float32), y.astype(np.float32)


# --- Cutting patches out of images ----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cut:
    """A window of an image, shrunk where the patch has fewer pixels.

    Parameters
    ----------
    layers
        (C, h, w) float32: unit gray, and in training the mask.
    origin, step
        (x, y) image coordinates of the window's corner, and image pixels per pixel of the cut.
    """

    layers: torch.Tensor
    origin: tuple[float, float]
    step: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels of the cut."""
        return self.layers.shape[1], self.layers.shape[2]


def cut_out(
    image: GrayImage, roi: RoiBox, frame: Frame, surround: float, mask: Mask | None = None
) -> Cut:
    """Cut an ROI with its surroundings, and a pixel more, out of an image.

    Raises
    ------
    GeometryError
        If the ROI covers no pixel.
    """
    spans = roi.clip(image.shape).grow(surround, image.shape).slices(image.shape)
    rows, cols = (
        slice(max(span.start - 1, 0), min(span.stop + 1, length))
        for span, length in zip(spans, image.shape, strict=True)
    )
    layers = [_unit(image, rows, cols)]
    if mask is not None:
        layers.append(mask[rows, cols].astype(np.float32))
    full = torch.from_numpy(np.stack(layers))
    h, w = full.shape[1:]
    shrunk = tuple(
        max(1, min(n, round(_OVERSAMPLING * frame.size * n / extent / frame.reach)))
        for n, extent in ((h, roi.height), (w, roi.width))
    )
    if shrunk != (h, w):
        full = functional.interpolate(full[None], shrunk, mode="bilinear", antialias=True)[0]
    step = (w / shrunk[1], h / shrunk[0])
    return Cut(full, (float(cols.start), float(rows.start)), step)


def _unit(image: GrayImage, rows: slice, cols: slice) -> Float32:
    """Return a window in unit gray, through a table: a large window is never held in float64."""
    window = image.pixels[rows, cols]
    first = int(window.min())
    table = image.scale.to_unit(np.arange(first, int(window.max()) + 1)).astype(np.float32)
    return np.asarray(table[window.astype(np.int32) - first])


def look(cut: Cut, x: Floats, y: Floats) -> tuple[Float32, Mask]:
    """Read a cut at image coordinates.

    Parameters
    ----------
    cut
        Where to read.
    x, y
        (S, S) continuous image coordinates.

    Returns
    -------
    layers
        (C, S, S) float32, bilinear; beyond the cut its border goes on.
    valid
        (S, S) which of the points lie inside the cut.
    """
    h, w = cut.shape
    u = (x - cut.origin[0]) / cut.step[0] / w * 2 - 1
    v = (y - cut.origin[1]) / cut.step[1] / h * 2 - 1
    grid = torch.from_numpy(np.stack([u, v], axis=-1).astype(np.float32))[None]
    read = functional.grid_sample(
        cut.layers[None].float(), grid, padding_mode="border", align_corners=False
    )
    valid = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    return read[0].numpy(), valid


def channels(
    gray: Float32, valid: Mask, edges: Edges | None, grid: tuple[Float32, Float32]
) -> Float32:
    """Return the (CHANNELS, S, S) float32 input of a network.

    Parameters
    ----------
    gray
        (S, S) unit gray.
    valid
        (S, S) which pixels lie inside the image.
    edges
        The box; None if there is none: depth and inside are 0 then.
    grid
        x and y in coordinates of the ROI.
    """
    x, y = grid
    in_roi = (np.abs(x) <= 1) & (np.abs(y) <= 1)
    seen = gray[in_roi & valid] if (in_roi & valid).any() else gray.ravel()
    dark, middle, bright = np.quantile(seen, (0.05, 0.5, 0.95))
    out = np.zeros((CHANNELS, *gray.shape), dtype=np.float32)
    out[GRAY] = gray * 2 - 1
    out[WINDOWED] = np.clip((gray - middle) / (bright - dark + 0.02) * 2, -2, 2)
    if edges is not None:
        depth = np.minimum(gray - edges[0], edges[1] - gray)
        out[DEPTH] = np.clip(depth / _DEPTH_UNIT, -1, 1)
        out[INSIDE] = (depth >= 0) & in_roi
    out[:VALID] *= valid
    out[VALID], out[X], out[Y] = valid, x, y
    return out


def edges_on(grid: tuple[Float32, Float32], image: GrayImage, roi: RoiBox, box: GrayBox) -> Edges:
    """Return the faces of a box in unit gray at the points of a patch around an ROI."""
    (x, y), net = grid, box.roi
    cx, cy = (roi.x0 + roi.x1) / 2, (roi.y0 + roi.y1) / 2
    u = (cx + x[0] * roi.width / 2 - net.x0) / net.width
    v = (cy + y[:, 0] * roi.height / 2 - net.y0) / net.height
    low, high = bilinear(box.low, v, u), bilinear(box.high, v, u)
    ends = (high, low - 1) if image.scale.inverted else (low, high + 1)
    return image.scale.to_unit(ends[0]), image.scale.to_unit(ends[1])


# --- Whole patches, and the way back to pixels ------------------------------------------------


def patch_of(image: GrayImage, roi: RoiBox, box: GrayBox | None, frame: Frame) -> Float32:
    """Return the (CHANNELS, S, S) input for an ROI, clipped to the image, and its box."""
    roi, grid = roi.clip(image.shape), frame.grid()
    x = (roi.x0 + roi.x1 + grid[0] * roi.width) / 2
    y = (roi.y0 + roi.y1 + grid[1] * roi.height) / 2
    cut = cut_out(image, roi, frame, frame.margin + _CUT_SLACK)
    (gray,), valid = look(cut, x, y)
    edges = None if box is None else edges_on(grid, image, roi, box)
    return channels(gray, valid, edges, grid)


def painted(
    pieces: Iterable[tuple[RoiBox, Tensor | None]],
    frame: Frame,
    shape: tuple[int, int],
    scene: Tensor | None = None,
) -> Mask:
    """Return the (H, W) mask of ROIs and the logits of their patches, nothing beyond the patches.

    Where patches overlap, each counts by how far inside of it the pixel lies.

    Parameters
    ----------
    pieces
        ROIs, and the (1, S, S) logits of their patches; None where only the scene has a say.
    frame
        The patches' grid.
    shape
        Of the image.
    scene
        (1, S, S) logits of the whole image on the grid ``frame.scene``, which count as much as a
        patch's.
    """
    total, weight = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for roi, patch in pieces:
        inside = roi.clip(shape)
        window = inside.grow(frame.margin, shape).slices(shape)
        voices = [] if patch is None else [on_pixels(patch, inside, frame, window)]
        if scene is not None:
            voices.append(on_pixels(scene, RoiBox.of_image(shape), frame.scene, window))
        logits = np.mean([np.clip(voice, -_SURE, _SURE) for voice in voices], axis=0)
        taper = _taper(inside, window, frame)
        total[window] += taper * logits
        weight[window] += taper
    return np.asarray((weight > 0) & (total > 0))


def on_pixels(logits: Tensor, roi: RoiBox, frame: Frame, window: Window) -> Float32:
    """Read the (1, S, S) logits of an ROI's patch at the centres of a window's pixels."""
    rows, cols = window
    x = ((np.arange(cols.start, cols.stop) + 0.5 - roi.x0) / roi.width * 2 - 1) / frame.reach
    y = ((np.arange(rows.start, rows.stop) + 0.5 - roi.y0) / roi.height * 2 - 1) / frame.reach
    return _read(logits, y, x)


def with_scene(
    logits: Tensor, scene: Tensor, roi: RoiBox, frame: Frame, shape: tuple[int, int]
) -> Tensor:
    """Return (1, S, S) logits of a patch and of the whole image, together on the patch's grid."""
    x = ((roi.x0 + roi.x1) + frame.axis * roi.width) / shape[1] - 1
    y = ((roi.y0 + roi.y1) + frame.axis * roi.height) / shape[0] - 1
    seen = torch.from_numpy(_read(scene, y, x))[None]
    return (logits.clamp(-_SURE, _SURE) + seen.clamp(-_SURE, _SURE)) / 2


def _read(logits: Tensor, y: Floats, x: Floats) -> Float32:
    """Read (1, S, S) logits at rows and columns from -1 to 1, edge to edge."""
    size = logits.shape[-1]
    knots = max(size - 1, 1)  # the patch's pixel centres are a net's knots
    v, u = (((at + 1) / 2 * size - 0.5) / knots for at in (y, x))
    return bilinear(logits[0].numpy().astype(np.float64), v, u).astype(np.float32)


def part_in(
    logits: Tensor,
    roi: RoiBox,
    frame: Frame,
    shape: tuple[int, int],
    others: Iterable[RoiBox] = (),
) -> RoiBox | None:
    """Return the ROI of what the (1, S, S) logits of a patch show; None if no part is there.

    That is the largest part, and others in the ROI that are not much smaller, as the two bones of a
    knee. Where a part goes on beyond the patch, the ROI ends there. What lies beyond the image is
    none, nor what lies beyond the ROI in one of the others.
    """
    own = _inside(roi, roi, frame)
    free = np.ones((frame.size, frame.size), dtype=bool)
    for other in others:
        free &= ~_inside(other, roi, frame)
    seen = (logits[0].numpy() > 0) & _inside(RoiBox.of_image(shape), roi, frame)
    parts, count = ndimage.label(seen & (free | own))
    if count == 0:
        return None
    areas = np.bincount(parts.ravel())[1:]
    beside = np.bincount(parts[free & own], minlength=count + 1)[1:] >= _BESIDE * areas.max()
    beside[areas.argmax()] = True
    rows, cols = (
        slice(int(at.min()), int(at.max()) + 1)
        for at in np.nonzero(np.isin(parts, np.flatnonzero(beside) + 1))
    )
    edges = []
    for span, low, high in ((cols, roi.x0, roi.x1), (rows, roi.y0, roi.y1)):
        at = (np.array([span.start, span.stop]) / frame.size * 2 - 1) * frame.reach
        edges.append((low + high) / 2 + at * (high - low) / 2)
    (x0, x1), (y0, y1) = edges
    if min(x1 - x0, y1 - y0) < _LEAST_PIXELS:
        return None
    return RoiBox(float(x0), float(y0), float(x1), float(y1)).grow(_PART_MARGIN, shape)


def _inside(region: RoiBox, roi: RoiBox, frame: Frame) -> Mask:
    """Tell which pixels of an ROI's patch have their centres in a region of the image; (S, S)."""
    x = (roi.x0 + roi.x1 + frame.axis * roi.width) / 2
    y = (roi.y0 + roi.y1 + frame.axis * roi.height) / 2
    cols, rows = (x >= region.x0) & (x < region.x1), (y >= region.y0) & (y < region.y1)
    return np.asarray(np.outer(rows, cols))


def parts_beyond(
    logits: Tensor, rois: Iterable[RoiBox], shape: tuple[int, int]
) -> list[tuple[RoiBox, float]]:
    """Return the parts in the (1, S, S) logits of a whole image that no ROI has to do with.

    Returns
    -------
    ROIs around them in image coordinates, each with the mean probability of its pixels.
    """
    seen, (height, width) = logits[0].sigmoid().numpy(), shape
    size = len(seen)
    free = seen > 0.5
    whole_parts, _ = ndimage.label(free)
    sizes = np.bincount(whole_parts.ravel())
    for roi in rois:
        x0, y0, x1, y1 = np.array(roi.xyxy) / (width, height, width, height) * size
        free[max(0, int(y0)) : round(y1 + 0.5), max(0, int(x0)) : round(x1 + 0.5)] = False
    parts, _ = ndimage.label(free)
    found = []
    for number, (rows, cols) in enumerate(ndimage.find_objects(parts), start=1):
        own = parts == number
        sure, area = float(seen[own].mean()), int(own.sum())
        is_part = area >= max(_LEAST_SHARE * size**2, _LEAST_FREE * sizes[whole_parts[own][0]])
        if is_part and sure >= _LEAST_SURE:
            x0, x1 = cols.start / size * width, cols.stop / size * width
            y0, y1 = rows.start / size * height, rows.stop / size * height
            found.append((RoiBox(x0, y0, x1, y1).grow(_PART_MARGIN, shape), sure))
    return found


def _taper(roi: RoiBox, window: Window, frame: Frame) -> Float32:
    """Return weights of the window's pixels: 1 in the middle of the patch, small at its edge."""
    rows, cols = window
    across = []
    for span, start, extent in ((rows, roi.y0, roi.height), (cols, roi.x0, roi.width)):
        at = ((np.arange(span.start, span.stop) + 0.5 - start) / extent * 2 - 1) / frame.reach
        across.append(np.clip(1.05 - np.abs(at), 0.05, 1))
    return np.asarray(np.outer(*across), dtype=np.float32)
