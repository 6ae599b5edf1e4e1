"""Pretraining of PointNet on 3D shapes, outside of any project."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from napari_graydet.errors import WeightsError
from napari_graydet.io.weights import WeightsCard, weights_file
from napari_graydet.workflows.events import ShouldCancel, check_cancelled, never_cancel
from napari_graydet.workflows.training.events import OnEvent, Reporter, ignore_event
from napari_graydet.workflows.training.job import Preset
from napari_graydet.workflows.training.request import Budgeted

PART = "pointnet"


def pretrain_pointnet(
    data: Path,
    out: Path,
    *,
    preset: Preset = "paper",
    seed: int = 0,
    epochs: float | None = None,
    minutes: float | None = None,
    device: str = "auto",
    on_event: OnEvent = ignore_event,
    should_cancel: ShouldCancel = never_cancel,
) -> WeightsCard:
    """Read ModelNet, pretrain, and write weights with their card.

    Parameters
    ----------
    data
        Folder of OFF files or ``.npz``, see `models.modelnet.read_modelnet`.
    out
        The safetensors file, with or without its ending; one that is there is never overwritten.
        Checkpoints stand in a folder beside it until the end; called again after a stop or a kill,
        for the same training of the same shapes, it goes on from there.
    preset
        Whose training is to start from it: "paper" or "fast".
    seed, epochs, minutes, device
        As for `train`.
    on_event, should_cancel
        Gets the events progress, validation and notice; asked at every batch.

    Raises
    ------
    DatasetError, FormatError
        If the shapes cannot be read.
    ModelError, WeightsError
        If the training fails, or `out` is there already or cannot be written.
    CancelledError
        If stopped.
    """
    from napari_graydet.models.boxes.paper_pointnet import PaperConfig
    from napari_graydet.models.device import choose_device
    from napari_graydet.models.learning.checkpoints import Checkpoints
    from napari_graydet.models.learning.loop import Scores, Step, Watch
    from napari_graydet.models.modelnet import read_modelnet
    from napari_graydet.models.pointnet import PointNetConfig
    from napari_graydet.models.pretraining import EPOCHS, pretrain

    Budgeted.of(seed=seed, epochs=epochs, minutes=minutes, device=device)
    out = weights_file(out)
    choose_device(device)
    if out.exists():
        raise WeightsError(f"{out} is there already; choose another name, or delete it.")
    train, test = (
        read_modelnet(data, part, np.random.default_rng([seed, place]))
        for place, part in enumerate(("train", "test"))
    )
    tell = Reporter(on_event)
    n_classes = len(train.classes) - 1  # without a background
    config = PaperConfig(n_classes)
    if preset == "fast":
        config = PaperConfig(n_classes, tnet_width=PointNetConfig(1).tnet_width)
    asked = hashlib.sha256(repr((preset, seed, epochs, minutes, train.classes)).encode())
    for array in (train.points, train.labels, test.points, test.labels):
        asked.update(np.ascontiguousarray(array).data)
    work = out.with_name(f".{out.stem}.{asked.hexdigest()[:12]}.checkpoints")

    def step(at: Step) -> None:
        share, loss = round(at.share, 5), round(at.loss, 5)
        tell("progress", part=PART, step=at.step, share=share, overall=share, loss=loss)
        check_cancelled(should_cancel)

    def validated(at: int, share: float, scores: Scores, best: bool) -> None:
        tell("validation", part=PART, step=at, share=share, scores=scores, best=best)

    card = pretrain(
        train,
        test,
        out,
        seed=seed,
        epochs=epochs or EPOCHS,
        minutes=minutes,
        config=config,
        data=[f"{data.stem}: {len(train.labels)} shapes"],
        device=device,
        watch=Watch(step, validated, lambda said: tell("notice", message=said), Checkpoints(work)),
    )
    shutil.rmtree(work, ignore_errors=True)
    return card
