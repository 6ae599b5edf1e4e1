"""How an ROI detector's network gets to see an image: scaled, padded, and mirrored as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_graydet.core.nms import RoiCandidates

PADDING = 114 / 255
"""Gray of the letterbox, as YOLO is used to."""

_STRIDE = 32
"""Canvases have whole multiples of so many pixels."""


def letterbox(image: npt.NDArray[np.uint8], size: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Scale an 8-bit image so that its longest side is `size`, and pad it to YOLO's strides.

    Returns
    -------
    canvas
        (1, 3, h, w) float32 in 0..1, the image at the top left.
    width, height
        Of the image on the canvas, whole pixels.
    """
    height, width = image.shape
    scale = size / max(height, width)
    gray = torch.from_numpy(np.array(image)).float()[None, None] / 255
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    gray = functional.interpolate(gray, (rows, columns), mode="bilinear", antialias=True)
    pad = (0, -columns % _STRIDE, 0, -rows % _STRIDE)
    return functional.pad(gray, pad, value=PADDING).expand(-1, 3, -1, -1), (columns, rows)


def views_of(canvas: torch.Tensor, width: int, mirrored: bool) -> torch.Tensor:
    """Return the views of a (1, 3, h, w) canvas as a batch of one or two.

    The mirror image of the image stands where the image stood, in the first `width` columns.
    """
    if not mirrored:
        return canvas
    other = canvas.clone()
    other[..., :width] = canvas[..., :width].flip(-1)
    return torch.cat([canvas, other])


def candidates_of(views: Sequence[npt.NDArray[np.floating]], width: int) -> RoiCandidates:
    """Put together what was seen in the views of `views_of`.

    Parameters
    ----------
    views
        For each view (N, 6) x0, y0, x1, y1, score, class id on its canvas.
    width
        Columns of the image on the canvas.

    Returns
    -------
    RoiCandidates
        In pixels of the first canvas; boxes without an area are left out.
    """
    rows = [np.array(view, dtype=np.float64) for view in views]
    for mirrored in rows[1:]:
        mirrored[:, [0, 2]] = width - mirrored[:, [2, 0]]
    rows = [view[(view[:, 2:4] > view[:, :2]).all(axis=1)] for view in rows]
    table = np.concatenate(rows)
    origin = np.repeat(np.arange(len(rows)), [len(view) for view in rows])
    return RoiCandidates(table[:, :4], table[:, 4], table[:, 5].astype(np.intp), origin)
