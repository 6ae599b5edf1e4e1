"""Box deltas: the paper's t (targets) and d (what the regressor returns).

    t_h = (G_h - P_h) / P_w          G^_h = P_w d_h + P_h
    t_w = ln(G_w / P_w)              G^_w = P_w exp(d_w)

Law: ``decode(p, encode(p, g)) == g``, unless the clamp below acts. Source: the paper, "Refinement
of proposal bounding box".
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import GeometryError

MAX_LOG_SCALE = math.log(1000.0)
"""Largest |d_w|: a box may grow or shrink a thousandfold, beyond which exp would overflow."""


def encode(proposals: npt.ArrayLike, targets: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the deltas t that turn proposals into targets.

    Parameters
    ----------
    proposals, targets
        (..., 2) centre and height along gray; heights positive.

    Raises
    ------
    GeometryError
        If a height is not positive.
    """
    p, g = np.asarray(proposals, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if (p[..., 1] <= 0).any() or (g[..., 1] <= 0).any():
        raise GeometryError("Boxes need a positive height to be encoded.")
    return np.stack([(g[..., 0] - p[..., 0]) / p[..., 1], np.log(g[..., 1] / p[..., 1])], axis=-1)


def decode(proposals: npt.ArrayLike, deltas: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Apply deltas d to proposals; (..., 2) centre and height. Inverse of `encode`.

    Deltas that are not finite count as 0, so that a broken regressor leaves the proposal.
    """
    p = np.asarray(proposals, dtype=np.float64)
    d = np.nan_to_num(np.asarray(deltas, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    log_scale = np.clip(d[..., 1], -MAX_LOG_SCALE, MAX_LOG_SCALE)
    return np.stack([p[..., 1] * d[..., 0] + p[..., 0], p[..., 1] * np.exp(log_scale)], axis=-1)
