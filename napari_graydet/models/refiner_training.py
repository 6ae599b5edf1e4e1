"""Whole trainings of refiners: one network, or both and the choice between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_graydet.errors import ModelError
from napari_graydet.models.box_detector import BoxModel
from napari_graydet.models.refiner_choice import HeldOut, choose_refiner
from napari_graydet.models.refiner_model import Kind, RefinerModel
from napari_graydet.models.refiner_run import RefinerRun, RefinerTraining
from napari_graydet.models.refiner_samples import RefinerImage, refiner_samples

KINDS: tuple[Kind, ...] = ("unet", "points")


@dataclass(frozen=True)
class RefinerProgress:
    """Where a training stands."""

    kind: Kind
    step: int
    share: float
    loss: float
    seconds: float


OnProgress = Callable[[RefinerProgress], None]
"""Called after every step; may raise to stop."""


def train_refiner(
    samples: Sequence[RefinerImage],
    classes: Sequence[str],
    *,
    seed: int,
    steps: int | None = None,
    minutes: float | None = None,
    kind: Kind = "unet",
    start: RefinerModel | None = None,
    trunk: BoxModel | None = None,
    training: RefinerTraining | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> RefinerModel:
    """Train one refiner; with a budget of steps the same seed gives the same weights.

    Parameters
    ----------
    samples
        Images with true masks and ROIs.
    classes
        Class names by id.
    seed
        Of initialisation, order and disturbances.
    steps, minutes
        Budget: at most one of the two; neither takes the settings' steps.
    kind
        "unet" or "points".
    start
        Trained refiner to go on from.
    trunk
        Box detector whose point features a new point head starts from.
    training, device
        Settings; None for the defaults.
    on_progress
        Told after every step; stops the training by raising.

    Raises
    ------
    ModelError
        If there is nothing to learn from, both budgets are given, or the training diverges.
    """
    if steps is not None and minutes is not None:
        raise ModelError("Expected a budget of either steps or minutes, got both.")
    if training is None:
        training = RefinerTraining() if start is None else RefinerTraining(frame=start.frame)
    if steps is not None:
        training = replace(training, steps=steps)
    parts = refiner_samples(samples, classes, training.frame)
    run = RefinerRun(
        parts,
        classes,
        kind,
        seed=seed,
        training=training,
        start=start,
        trunk=trunk,
        device=device,
    )
    began = time.monotonic()
    while True:
        seconds = time.monotonic() - began
        share = run.done / training.steps if minutes is None else seconds / (60 * minutes)
        if share >= 1:
            return run.model()
        loss = run.step(share)
        if on_progress is not None:
            on_progress(RefinerProgress(kind, run.done, share, loss, seconds))


def make_refiner(
    samples: Sequence[RefinerImage],
    classes: Sequence[str],
    out: Path,
    *,
    seed: int,
    held_out: Sequence[HeldOut],
    data: Sequence[str] = (),
    start: RefinerModel | None = None,
    trunk: BoxModel | None = None,
    training: RefinerTraining | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> dict[str, float]:
    """Train both refiners, choose on held-out images, save the choice with its table.

    The weights are written also where the boxes alone are better; the card's metric "chosen" says
    "none" then, and the better refiner is kept for a later start.

    Parameters
    ----------
    samples, classes, seed, start, trunk, training, device, on_progress
        As for `train_refiner`.
    out
        The safetensors file to write.
    held_out
        Images with detected boxes on which the choice is made.
    data
        Names of the data sets, for the card.

    Returns
    -------
    Mean DSC by candidate.
    """
    models = [
        train_refiner(
            samples,
            classes,
            seed=seed,
            kind=kind,
            start=start,
            trunk=trunk,
            training=training,
            device=device,
            on_progress=on_progress,
        )
        for kind in KINDS
    ]
    chosen, table = choose_refiner(models, held_out)
    metrics: dict[str, Any] = {f"held-out DSC: {name}": value for name, value in table.items()}
    best = max(table, key=lambda name: table[name])
    kept = chosen or max(models, key=lambda model: table[model.kind])
    kept.save(
        out,
        data=list(data),
        metrics={"chosen": best, "held-out images": len(held_out), **metrics},
        seed=seed,
        versions={name: version(name) for name in ("torch", "numpy")},
    )
    return table
