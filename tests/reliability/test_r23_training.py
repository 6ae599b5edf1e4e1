"""R23: a training that is killed again and again ends in the weights of one that was not."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.io.weights import load_weights
from tests.reliability import training_child

SLOWEST = 120.0


def step_of(folder: Path) -> int:
    """The newest checkpoint's step; 0 if there is none."""
    return max((int(p.stem.split("-")[1]) for p in folder.glob("step-*.json")), default=0)


def kill_after(folder: Path, out: Path, steps: int, rng: random.Random) -> int:
    """Run, kill at a random moment after some more steps; return the step that is on disk."""
    before, deadline = step_of(folder), time.monotonic() + SLOWEST
    child = training_child.start(folder, out)
    while child.is_alive() and step_of(folder) < before + steps and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.03))  # anywhere in a step, a checkpoint being written included
    child.kill()
    child.join()
    return step_of(folder)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_and_resumed_it_ends_in_the_same_weights(tmp_path: Path, kills: int) -> None:
    rng = random.Random(kills)
    folder, out = tmp_path / "checkpoints", tmp_path / "killed.safetensors"
    reached = [kill_after(folder, out, 40 // kills - 1 or 1, rng) for _ in range(kills)]
    assert reached == sorted(reached) and reached[0] > 0, "no kill may lose what was on disk"
    if kills > 3:  # and the newest checkpoint may be damaged, too
        newest = folder / f"step-{reached[-1]:09d}.safetensors"
        newest.write_bytes(newest.read_bytes()[:-100])
    training_child.train(folder, out)
    whole = tmp_path / "whole.safetensors"
    training_child.train(None, whole)
    killed, uninterrupted = (load_weights(path)[0] for path in (out, whole))
    assert killed.keys() == uninterrupted.keys()
    for name, values in uninterrupted.items():
        np.testing.assert_array_equal(killed[name], values, err_msg=name)
    print(f"R23: {kills} kills at steps {reached} of 40, same weights to the bit")
