"""The anchors of an ROI: n centres along gray times k heights.

All anchors share the ROI's length and width and differ in centre height l_h and height extent l_w
(the paper, "Anchor boxes"; n x k anchors, k = 3). They live in unit gray, 0 black to 1 white.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import GeometryError

DEFAULT_SCALES = (0.15, 0.3, 0.6)
"""Heights of the k = 3 anchors at each centre, in unit gray."""


@dataclass(frozen=True)
class AnchorGrid:
    """A window slid along gray at n positions, in k scales.

    Parameters
    ----------
    n
        Number of centres, equally spaced over 0..1.
    scales
        Heights in unit gray.

    Raises
    ------
    GeometryError
        If there is no centre or no positive height.
    """

    n: int = 32
    scales: tuple[float, ...] = DEFAULT_SCALES

    def __post_init__(self) -> None:
        if self.n < 1 or not self.scales or min(self.scales) <= 0:
            raise GeometryError(
                f"Anchors need n >= 1 and positive scales, got n={self.n}, scales={self.scales}."
            )

    def __len__(self) -> int:
        return self.n * len(self.scales)

    @property
    def anchors(self) -> npt.NDArray[np.float64]:
        """(n * k, 2) centre and height in unit gray, centres outermost."""
        centres = (np.arange(self.n) + 0.5) / self.n
        grid = np.stack(np.meshgrid(centres, self.scales, indexing="ij"), axis=-1)
        return grid.reshape(-1, 2)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """(n * k, 2) bottom and top in unit gray, clipped to 0..1."""
        return edges_of(self.anchors)


def edges_of(centre_width: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Turn (..., 2) centres and heights into (..., 2) bottoms and tops, clipped to 0..1."""
    boxes = np.asarray(centre_width, dtype=np.float64)
    half = boxes[..., 1] / 2
    return np.clip(np.stack([boxes[..., 0] - half, boxes[..., 0] + half], axis=-1), 0.0, 1.0)


def centre_width_of(edges: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Turn (..., 2) bottoms and tops into (..., 2) centres and heights."""
    e = np.asarray(edges, dtype=np.float64)
    return np.stack([(e[..., 0] + e[..., 1]) / 2, e[..., 1] - e[..., 0]], axis=-1)
