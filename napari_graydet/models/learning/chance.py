"""What the few held-out images of a project cannot tell from chance."""

from __future__ import annotations

import math


def chance(spread: float, images: int, *, least: float = 0.0) -> float:
    """Return how far two candidates' means over images may lie apart by chance.

    Parameters
    ----------
    spread
        Standard deviation, over images, of their difference.
    images
        How many held-out images there are.
    least
        The least difference that is believed, however many images there are.

    Returns
    -------
    Two standard errors of the mean difference.
    """
    return max(least, 2 * spread / math.sqrt(max(images, 1)))
