"""``napari-graydet pretrain pointnet``: a start for the box detectors, learned from 3D shapes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from napari_graydet.cli.boundary import Result
from napari_graydet.cli.options import Debug, Device, Json
from napari_graydet.cli.train import Preset, shown_events


class Network(enum.StrEnum):
    """What can be pretrained."""

    POINTNET = "pointnet"


def pretrain(
    network: Annotated[Network, typer.Argument(help="**pointnet**.", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="ModelNet: the folder of OFF files as distributed (class/train/*.off), or an .npz "
            "of clouds (x_train, y_train, x_test, y_test).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Weights to write (.safetensors).")
    ],
    preset: Annotated[
        Preset,
        typer.Option(help="For the training of which preset: their T-Nets differ in width."),
    ] = Preset.PAPER,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same weights (on a CPU).")] = 0,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the shapes; default: 30.", show_default=False)
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Time instead.", show_default=False)] = None,
    device: Device = "auto",
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Pretrain PointNet on ModelNet; the result is a start for `train boxes --start FILE`.

    With --json every step is a line of JSON. Stopped with Ctrl-C, the same command goes on. On
    several GPUs: torchrun --nproc-per-node GPUS -m napari_graydet pretrain ...
    """
    from napari_graydet.io.weights import weights_file
    from napari_graydet.workflows.training.group import together, with_others
    from napari_graydet.workflows.training.pretrain import pretrain_pointnet
    from napari_graydet.workflows.training.process import stop_signals

    work = partial(
        pretrain_pointnet,
        data,
        preset=preset.value,
        seed=seed,
        epochs=epochs,
        minutes=minutes,
        device=device,
    )
    with (
        stop_signals() as should_cancel,  # the others end with the one that leads
        together(device) as leads,
        shown_events() as show,
    ):
        if not leads:
            raise typer.Exit
        here = partial(work, out, on_event=show, should_cancel=should_cancel)
        card = with_others(here, partial(_pretrain_in, work, out.name))
    figures = ", ".join(f"{name} {value:.3f}" for name, value in card.metrics.items())
    made = weights_file(out)
    return Result(card.model_dump(mode="json"), f"{made}: {len(card.classes)} classes, {figures}")


def _pretrain_in(work: Callable[[Path], object], name: str, folder: Path) -> None:
    """Pretrain for a process that leads: what is written here nobody needs."""
    work(folder / name)
