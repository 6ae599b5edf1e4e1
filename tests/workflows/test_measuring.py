"""Costs: the peak is that of the block, not of what was before."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_graydet.workflows.evaluation.measuring import Cost, measured


def _forgets_peaks() -> bool:
    """Tell whether the kernel can be asked to forget the peak of a process (Linux, mostly)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def test_seconds() -> None:
    with measured() as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5


def test_seconds_of_a_block_that_fails() -> None:
    with pytest.raises(RuntimeError), measured() as cost:
        time.sleep(0.02)
        raise RuntimeError
    assert cost.seconds >= 0.02


PEAKS = """
import numpy as np
from napari_graydet.workflows.evaluation.measuring import measured

for mib in (1, 200, 1):
    with measured() as cost:
        np.ones(mib * 2**20, dtype=np.uint8).sum()
    print(cost.memory)
"""


@pytest.mark.skipif(not _forgets_peaks(), reason="this system does not let a peak start anew")
def test_peak_of_a_block() -> None:
    # In a process of its own: here, what other tests leave behind comes and goes meanwhile.
    command = [sys.executable, "-c", PEAKS]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    small, large, small_again = map(float, told.split())
    assert 150 < large - small < 300
    assert large - small_again > 150


def test_costs_add_up() -> None:
    both = Cost(seconds=1, memory=300, gpu=None) + Cost(seconds=2, memory=200, gpu=50)
    assert both == Cost(seconds=3, memory=300, gpu=50)
    assert (Cost() + Cost()).memory is None
