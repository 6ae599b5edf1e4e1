"""Whole trainings of refiners: one network, or all of them and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from napari_graydet.errors import ModelError
from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.loop import Budget, Scores, Step, Watch, fit
from napari_graydet.models.refiner.choice import HeldOut, all_of, best_of, choose_refiner, images_of
from napari_graydet.models.refiner.learner import RefinerLearner, RefinerTraining, new_network
from napari_graydet.models.refiner.model import RefinerKind, RefinerModel
from napari_graydet.models.refiner.samples import RefinerImage, RefinerSamples, refiner_samples

SHARES: dict[RefinerKind, float] = {"unet": 0.475, "points": 0.05, "scene": 0.475}
"""Share of the steps, or of the time, that each refiner gets: the U-Nets gain most from more."""

"""Called after every step; may raise to stop."""


def train_refiner(
    samples: Iterable[RefinerImage],
    classes: Sequence[str],
    *,
    seed: int,
    steps: int | None = None,
    minutes: float | None = None,
    kind: RefinerKind = "unet",
    start: RefinerModel | None = None,
    trunk: BoxModel | None = None,
    training: RefinerTraining | None = None,
    validation: Sequence[HeldOut] = (),
    device: str = "auto",
    watch: Watch | None = None,
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
        "unet", "points" or "scene".
    start
        Trained refiner to go on from.
    trunk
        Box detector whose point features a new point head starts from.
    training, device
        Settings; None for the defaults.
    validation
        Held-out images that choose the best weights on the way, as often as the settings say.
    watch
        Told of the training; checkpoints.

    Raises
    ------
    ModelError
        If there is nothing to learn from, both budgets are given, or the training diverges.
    """
    if steps is not None and minutes is not None:
        raise ModelError("Expected a budget of either steps or minutes, got both.")
    training = training or _settings(start)
    if steps is not None:
        training = replace(training, steps=steps)
    return _trained(
        refiner_samples(samples, classes, training.frame),
        classes,
        kind,
        training,
        minutes,
        seed=seed,
        start=start,
        trunk=trunk,
        validation=validation,
        device=device,
        watch=watch or Watch(),
    )


def _settings(start: RefinerModel | None) -> RefinerTraining:
    return RefinerTraining() if start is None else RefinerTraining(frame=start.frame)


def _trained(
    samples: RefinerSamples,
    classes: Sequence[str],
    kind: RefinerKind,
    training: RefinerTraining,
    minutes: float | None,
    *,
    seed: int,
    start: RefinerModel | None,
    trunk: BoxModel | None,
    validation: Sequence[HeldOut],
    device: str,
    watch: Watch,
) -> RefinerModel:
    budget = Budget(
        training.steps if minutes is None else None,
        minutes,
        training.validations if validation else 0,
        training.patience,
    )
    torch.manual_seed(seed)
    network = new_network(kind, classes, training, start, trunk)
    counts = 0.0 if start is None else training.start_counts
    learner = RefinerLearner(
        network,
        kind,
        classes,
        samples.of(kind),
        training,
        seed,
        of_start=counts / (counts + max(1, len(samples.scenes))),
        held_out=validation,
        device=device,
    )
    fit(learner, budget, watch)
    return learner.model()


def make_refiner(
    samples: Iterable[RefinerImage],
    classes: Sequence[str],
    out: Path,
    *,
    seed: int,
    held_out: Sequence[HeldOut],
    data: Sequence[str] = (),
    start: RefinerModel | None = None,
    trunk: BoxModel | None = None,
    training: RefinerTraining | None = None,
    minutes: float | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> dict[str, float]:
    """Train all refiners, choose on held-out images, save the choice with its table.

    All networks are written, so that a later training can start from each of them, also where the
    boxes alone are better; the card's metric "chosen" says "none" then.

    Parameters
    ----------
    samples, classes, seed, trunk, training, minutes, device
        As for `train_refiner`; the settings' steps, or the minutes, are those of all together,
        divided as `SHARES` says.
    start
        Refiner whose networks are trained on; a kind that it does not have starts anew.
    watch
        As for `train_refiner`; steps and shares are those of all trainings together.
    out
        The safetensors file to write.
    held_out
        Images with detected boxes on which the choice is made.
    data
        Names of the data sets, for the card.

    Returns
    -------
    Mean DSC by candidate.

    Raises
    ------
    ModelError
        As `train_refiner`, or if there is no held-out image.
    """
    if not held_out:
        raise ModelError("Expected held-out images to choose a refiner on, got none.")
    training = training or _settings(start)
    cuts = refiner_samples(samples, classes, training.frame)
    models = [
        _trained(
            cuts,
            classes,
            kind,
            replace(training, steps=max(1, round(training.steps * part))),
            None if minutes is None else minutes * part,
            seed=seed,
            start=start if start is not None and kind in start.networks else None,
            trunk=trunk,
            validation=held_out,
            device=device,
            watch=_part_of(watch or Watch(), kind),
        )
        for kind, part in SHARES.items()
    ]
    chosen, table = choose_refiner(models, held_out)
    metrics: dict[str, Any] = {f"held-out DSC: {name}": value for name, value in table.items()}
    best = best_of(table, images_of(held_out))
    single = max(SHARES, key=lambda kind: table[kind])
    kept = chosen or replace(all_of(models), chosen=(single,), flips=False)
    kept.save(
        out,
        data=list(data),
        metrics={"chosen": best, "held-out images": images_of(held_out), **metrics},
        seed=seed,
        versions={name: version(name) for name in ("torch", "numpy")},
    )
    return table


def _part_of(watch: Watch, kind: RefinerKind) -> Watch:
    """Return the watch of one of the trainings: shares of the whole, checkpoints of its own."""
    before = sum(list(SHARES.values())[: list(SHARES).index(kind)])

    def step(at: Step) -> None:
        watch.step(replace(at, share=before + SHARES[kind] * at.share))

    def validated(step: int, share: float, scores: Scores, best: bool) -> None:
        named = {f"{kind} {name}": value for name, value in scores.items()}
        watch.validated(step, before + SHARES[kind] * share, named, best)

    kept = watch.checkpoints
    if kept is not None:
        kept = Checkpoints(kept.folder / kind, seconds=kept.seconds)
    return replace(watch, step=step, validated=validated, checkpoints=kept)
