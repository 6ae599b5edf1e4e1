"""``napari-graydet train``: detectors that learn from a project, or from a pair of folders."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_graydet.cli.boundary import Result, complain, tell
from napari_graydet.cli.data_options import DATA, LABEL, Images, Label, Masks, Patients
from napari_graydet.cli.options import Debug, Device, Json, names
from napari_graydet.errors import ModelError

if TYPE_CHECKING:
    from napari_graydet.project.model_entry import ModelEntry
    from napari_graydet.workflows.training.events import Event, OnEvent


class Preset(enum.StrEnum):
    """How to train."""

    FAST = "fast"
    PAPER = "paper"


_HOW, _RUN = "How", "The run"


def train(
    parts: Annotated[
        str,
        typer.Argument(
            metavar="PART",
            help="**roi**, **boxes**, **regressor**, **refiner** or **all**; with commas between "
            "them for some.",
            show_default=False,
        ),
    ],
    project: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PROJECT]",
            help="Project whose accepted images are learned from.",
            show_default=False,
        ),
    ] = None,
    images: Images = None,
    masks: Masks = None,
    label: Label = LABEL,
    patients: Patients = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS,...",
            help="Learn these classes only.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        Preset,
        typer.Option(
            help="**fast**: minutes on a CPU. **paper**: as Ge et al. 2022, hours on a CPU; YOLO's "
            "head is the anchor-free one of ultralytics (docs/decisions/0019: all deviations).",
            rich_help_panel=_HOW,
        ),
    ] = Preset.FAST,
    seed: Annotated[
        int, typer.Option(min=0, rich_help_panel=_HOW, help="Same seed, same weights (on a CPU).")
    ] = 0,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL|FILE",
            help="A model's number, **shipped**, or a weights file (.safetensors; darknet's "
            ".weights for roi); several, each for the parts that it fits. Default: the model in "
            "use, else the shipped weights.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Passes over the training images, for each part; default: the preset's.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Time for all parts together instead.", rich_help_panel=_HOW, show_default=False
        ),
    ] = None,
    device: Device = "auto",
    registry: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            "--registry",
            metavar="DIR",
            help="Folder whose *models* gets the new one; default: the project.",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Go on with a model that was stopped or killed, as it was asked for then.",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    use: Annotated[
        bool, typer.Option("--use", help="Put the new model in use.", rich_help_panel=_RUN)
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Train detectors: of a project, or of images with masks.

    Every training is a new model; none is overwritten. Images of one patient never stand both
    among those that are learned from and those that choose when to stop. With --json every step is
    a line of JSON. To stop: Ctrl-C; it goes on with --resume. On several GPUs: torchrun
    --nproc-per-node GPUS -m napari_graydet train ...
    """
    from napari_graydet.workflows.training import process as train_process
    from napari_graydet.workflows.training import train as workflow
    from napari_graydet.workflows.training.group import together
    from napari_graydet.workflows.training.request import TrainRequest

    if project is not None and label != LABEL and resume is None:
        raise ModelError(
            "A project has classes of its own; leave --label out (or choose: --classes)."
        )
    if project is not None and (images is not None or masks is not None) and resume is None:
        raise ModelError("Give a project, or --images and --masks with -o DIR, not both.")
    folder = registry or project
    if folder is None:
        raise ModelError("Give a project, or --images, --masks and -o DIR for the model.")
    if resume is not None:
        device = workflow.device_of(Path(resume).name, folder)
    with (
        train_process.stop_signals() as should_cancel,  # the others end with the one that leads
        together(device) as leads,
        shown_events() as show,
    ):
        if not leads:
            raise typer.Exit
        if resume is not None:
            entry = workflow.resume(
                Path(resume).name, folder, on_event=show, should_cancel=should_cancel, use=use
            )
        else:
            request = TrainRequest.of(
                parts=parts,
                preset=preset.value,
                seed=seed,
                start=tuple(start or ()),
                epochs=epochs,
                minutes=minutes,
                device=device,
                classes=None if classes is None else tuple(names(classes, "--classes")),
                project=None if project is None or images else str(project),
                images=None if images is None else str(images),
                masks=None if masks is None else str(masks),
                label=label,
                patients=patients,
            )
            entry = workflow.train(
                request, folder, on_event=show, should_cancel=should_cancel, use=use
            )
    return Result(entry.model_dump(mode="json"), _summary(entry, folder, use))


@contextmanager
def shown_events() -> Iterator[OnEvent]:
    """Give a callback that shows a training's events: lines of JSON, a bar, or lines of text."""
    if not sys.stderr.isatty():
        yield _print_event
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("Reading the images", total=None)

        def show(event: Event) -> None:
            if event["event"] == "progress":
                text = f"{event['part']}: loss {event['loss']:.3f}"
                bar.update(task, completed=event["overall"], total=1.0, description=text)
            else:
                _print_event(event)

        yield show


def _print_event(event: Event) -> None:
    """Print an event as JSON, or what people want to know of it to standard error."""
    if tell(event):
        return
    if event["event"] == "start":
        count = event["images"]
        complain(
            f"model {event['run']}: {', '.join(event['parts'])} on {count['train']} images, "
            f"{count['validation']} held out"
        )
    elif event["event"] == "validation":
        complain(f"{event['part']}, {event['share']:.0%}: {_figures(event['scores'])}")
    elif event["event"] == "notice":
        complain(event["message"])


def _figures(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())


def _summary(entry: ModelEntry, folder: Path, used: bool) -> str:
    from napari_graydet.project.model_entry import main_figures

    lines = [f"Model {entry.id} in {folder}, {entry.seconds:.0f} s."]
    for kind, scores in entry.scores.items():
        before, main = main_figures(entry.parent_scores.get(kind, {})), main_figures(scores)
        lines.append(
            f"{kind}: {_figures(main)}" + (f" (before: {_figures(before)})" if before else "")
        )
        others = {k.partition(", ")[2]: v for k, v in scores.items() if k not in main}
        lines += [f"  {entry.notes[kind]}"] if kind in entry.notes else []
        lines += [f"  Candidates: {_figures(others)}."] if others else []
    if not used:
        lines.append(f"Use it: napari-graydet models use {folder} {entry.id}")
    return "\n".join(lines)
