"""Learning rates over a training: one cycle, up and then down.

Source: Smith and Topin, "Super-convergence", 2018. Functions of the share of the budget, or of the
step, without a state that a checkpoint would have to keep. They differ in details that trained
weights depend on.
"""

from __future__ import annotations

import math

WARM_UP = 0.1
"""Share of the budget in which the rate rises."""

_FIRST = 0.04
"""Share of the peak that a rate begins with."""


def cosine_cycle(share: float) -> float:
    """Return the rate at a share of the budget, as a share of its peak: half cosines to nothing."""
    if share < WARM_UP:
        return _FIRST + (1 - _FIRST) * (1 - math.cos(math.pi * share / WARM_UP)) / 2
    return _falling(share)


def linear_cycle(share: float) -> float:
    """Return the rate at a share of the budget, as a share of its peak: up along a line.

    Down along a half cosine, to a thousandth.
    """
    if share < WARM_UP:
        return _FIRST + (1 - _FIRST) * share / WARM_UP
    return max(1e-3, _falling(share))


def _falling(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP)))) / 2


def one_cycle(step: float, total: float, peak: float) -> tuple[float, float]:
    """Return learning rate and Adam's first beta of a one-cycle schedule.

    As `torch.optim.lr_scheduler.OneCycleLR` with `pct_start` 0.1, to the bit.
    """
    first, least = peak / 25, peak / 25 / 1e4
    top, end = WARM_UP * total - 1, total - 1
    if step <= top and top > 0:
        share, rates, betas = step / top, (first, peak), (0.95, 0.85)
    else:
        share, rates, betas = (step - top) / (end - top), (peak, least), (0.85, 0.95)
    rate, beta = (b + (a - b) / 2.0 * (math.cos(math.pi * share) + 1) for a, b in (rates, betas))
    return rate, beta
