"""Costs: the peak is that of the block, not of what was before."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from napari_graydet.workflows.measuring import Cost, measured


def test_seconds() -> None:
    with measured() as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5


def test_seconds_of_a_block_that_fails() -> None:
    with pytest.raises(RuntimeError), measured() as cost:
        time.sleep(0.02)
        raise RuntimeError
    assert cost.seconds >= 0.02


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a block is known on Linux only")
def test_peak_of_a_block() -> None:
    def peak(mib: int) -> float:
        with measured() as cost:
            np.ones(mib * 2**20, dtype=np.uint8).sum()
        assert cost.memory is not None
        return cost.memory

    small, large, small_again = peak(1), peak(200), peak(1)
    assert 150 < large - small < 300
    assert large - small_again > 150


def test_costs_add_up() -> None:
    both = Cost(seconds=1, memory=300, gpu=None) + Cost(seconds=2, memory=200, gpu=50)
    assert both == Cost(seconds=3, memory=300, gpu=50)
    assert (Cost() + Cost()).memory is None
