"""The training that R23 kills: the box detector's own, as small as it can be."""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from napari_graydet.core.roi import RoiBox
from napari_graydet.models.boxes.samples import BoxSample, Disturbance
from napari_graydet.models.boxes.training import BoxTraining, train_boxes
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.loop import Budget, Watch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])

TRAINING = BoxTraining(
    batch=3,
    points=32,
    regressor_rois=4,
    global_width=16,
    tnet_width=16,
    disturbance=Disturbance(pose=True),
)
BUDGET = Budget(steps=40, validations=4)


def samples(seed: int) -> list[BoxSample]:
    """Bright disks on a noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] / 32 - 0.5
    mask = x**2 + y**2 < 0.14
    grounds = (rng.normal(0.35, 0.05, mask.shape) for _ in range(4))
    units = (np.clip(np.where(mask, 0.75, ground), 0, 1) for ground in grounds)
    return [BoxSample(u.astype(np.float32), mask, RoiBox(1, 1, 31, 31), 0, "a") for u in units]


def train(checkpoints: Path | None, out: Path) -> None:
    """Train to the end, a checkpoint after every step; go on from those that are there."""
    torch.set_num_threads(1)
    model = train_boxes(
        samples(0),
        ("a",),
        seed=5,
        training=TRAINING,
        validation=samples(1),
        budget=BUDGET,
        watch=Watch(checkpoints=checkpoints and Checkpoints(checkpoints, seconds=0)),
    )
    model.save(out)


def start(checkpoints: Path, out: Path) -> BaseProcess:
    """Start the training in a process that may be killed."""
    child = _CONTEXT.Process(target=train, args=(checkpoints, out), daemon=True)
    child.start()
    return child
