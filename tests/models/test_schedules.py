"""Learning rates: up to the peak in a tenth of the budget, then down; torch's own to the bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_graydet.models.learning.schedules import cosine_cycle, linear_cycle, one_cycle


@pytest.mark.parametrize(("cycle", "last"), [(cosine_cycle, 0.0), (linear_cycle, 1e-3)])
def test_the_rate_rises_then_falls(cycle: Callable[[float], float], last: float) -> None:
    rates = [cycle(share) for share in np.linspace(0, 1, 101)]
    assert rates[10] == pytest.approx(1)
    assert np.all(np.diff(rates[:11]) > 0)
    assert np.all(np.diff(rates[10:-2]) < 0)
    assert (rates[0], rates[-1]) == (pytest.approx(0.04), pytest.approx(last))
    assert cycle(1.2) == rates[-1]  # minutes may be overdrawn by a step


def test_a_line_rises_evenly_and_a_cosine_does_not() -> None:
    assert linear_cycle(0.05) == pytest.approx(0.52) == cosine_cycle(0.05)
    assert linear_cycle(0.025) == pytest.approx(0.28)
    assert cosine_cycle(0.025) < 0.2


@pytest.mark.parametrize("total", [40, 1500])
def test_one_cycle_is_that_of_torch(total: int) -> None:
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total, pct_start=0.1)
    for step in range(total):
        (group,) = optimiser.param_groups
        assert one_cycle(step, total, 2e-3) == (group["lr"], group["betas"][0])
        optimiser.step()
        if step + 1 < total:
            schedule.step()
