"""``napari-graydet evaluate``: how good the masks are, and where the loss arises."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_graydet.cli.boundary import BAD_INPUT, OK, Result, complain, tell
from napari_graydet.cli.data_options import (
    DATA,
    Images,
    Masks,
    Patients,
    TrueProject,
    read_data,
)
from napari_graydet.cli.options import (
    BoxWeights,
    Debug,
    Device,
    Json,
    RefinerWeights,
    RoiWeights,
    names,
    numbers,
)
from napari_graydet.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.console import Group

    from napari_graydet.workflows.dataset import Dataset
    from napari_graydet.workflows.evaluation.report import Report
    from napari_graydet.workflows.events import OnProgress, Progress


class Side(enum.StrEnum):
    """Which images to score."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    ALL = "all"


_MODELS, _HOW = "Models", "How"
SHARES = "0.15,0"
"""Of validation and test images, unless others are asked for."""


def evaluate(
    project: TrueProject = None,
    images: Images = None,
    masks: Masks = None,
    label: Annotated[
        str,
        typer.Option(
            metavar="CLASS",
            help="Class of the masks; **object**: whatever is found counts.",
            rich_help_panel=DATA,
        ),
    ] = "object",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS,...",
            help="The masks hold label ids; these are their classes, from id 1.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    patients: Patients = None,
    split: Annotated[
        Side | None,
        typer.Option(
            help="Which images; default: validation where the project has a split, else all.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    shares: Annotated[
        str,
        typer.Option(
            metavar="VALIDATION,TEST",
            help="Of two folders, shares of the images on these sides.",
            rich_help_panel=DATA,
        ),
    ] = SHARES,
    seed: Annotated[
        int, typer.Option(help="Of the split of two folders.", rich_help_panel=DATA)
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only the first so many images.", rich_help_panel=DATA, show_default=False
        ),
    ] = None,
    true_rois: Annotated[
        bool,
        typer.Option("--true-rois", help="Give the method the true regions.", rich_help_panel=_HOW),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Number of a trained model of the project; default: those in use.",
            rich_help_panel=_MODELS,
            show_default=False,
        ),
    ] = None,
    roi_weights: RoiWeights = None,
    box_weights: BoxWeights = None,
    refiner_weights: RefinerWeights = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Write the table of all images: .csv, .md or .json.",
            show_default=False,
        ),
    ] = None,
    write_masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the mask of each image as PNG, numbered in the order of the table; "
            "label ids count the classes from 1.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        bool,
        typer.Option("--events", help="With --json: tell each image in a line of its own first."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Score masks against the truth: of a project, or of images with masks.

    Beside IoU, DSC and distances stand the ceiling (the best that gray ranges can give) and where
    the loss arises: region, range, or what no range can reach. A bad image is named, and the others
    go on. Nothing to find and nothing found is right and in no mean; one empty mask of two is an
    IoU of 0 (docs/evaluation.md).
    """
    from napari_graydet.workflows.evaluation.evaluate import evaluate as run
    from napari_graydet.workflows.evaluation.evaluate import ignore_masks
    from napari_graydet.workflows.evaluation.project_method import method_of
    from napari_graydet.workflows.evaluation.report import check_ending, write_report
    from napari_graydet.workflows.mask_folder import MaskFolder

    if model is not None and project is None:
        raise typer.BadParameter("expected PROJECT with --model, whose number is the project's.")
    if out is not None:
        check_ending(out)
    data = read_data(
        project,
        images,
        masks,
        label=label,
        patients=patients,
        classes=None if classes is None else names(classes, "--classes"),
    )
    if project is not None:
        if shares != SHARES or seed != 0:
            raise typer.BadParameter(
                "expected --shares and --seed with folders; a project keeps its split."
            )
        data, side = _side_of_project(data, project, split)
    else:
        data, side = _side_of_folders(data, split or Side.ALL, shares, seed)
    if limit is not None:
        data = data.subset([case.name for case in data.cases[:limit]])
    for notice in data.notices:
        complain(notice)
    method = method_of(
        project,
        model=model,
        roi_source=roi_weights,
        box_source=box_weights,
        refiner_source=refiner_weights,
        device=device,
        notice=complain,
    )
    keep = ignore_masks if write_masks is None else MaskFolder(write_masks, data).keep
    with _tell_images() if events else progress_bar("Evaluating") as show:
        report = run(method, data, true_rois=true_rois, split=side, on_masks=keep, on_progress=show)
    for notice in report.notices:
        complain(notice)
    for row in report.failed:
        complain(f"{row.image}: {row.error}")
    if out is not None:
        write_report(report, out)
    return Result(report.document(), _text(report), BAD_INPUT if report.failed else OK)


@contextmanager
def _tell_images() -> Iterator[OnProgress]:
    """Give a callback that tells each image as a line of JSON."""

    def show(progress: Progress) -> None:
        tell(
            {
                "event": "image",
                "image": progress.name,
                "done": progress.done,
                "total": progress.total,
                "error": progress.message or None,
            }
        )

    yield show


def _side_of_project(data: Dataset, project: Path, split: Side | None) -> tuple[Dataset, str]:
    from napari_graydet.project import splits
    from napari_graydet.workflows.evaluation.project_method import side_of_project

    if split is None:
        split = Side.ALL if splits.saved(project) is None else Side.VALIDATION
    return side_of_project(data, project, split.value), split.value


def _side_of_folders(data: Dataset, split: Side, shares: str, seed: int) -> tuple[Dataset, str]:
    from napari_graydet.project import splits

    validation, test = numbers(shares, 2, "--shares VALIDATION,TEST")
    if min(validation, test) < 0 or validation + test >= 1:
        raise typer.BadParameter(f"expected --shares of together less than 1, got {shares!r}.")
    if split is Side.ALL:
        return data, split.value
    drawn = splits.by_patient(data.patients, seed=seed, validation=validation, test=test)
    return data.subset(drawn.side(split.value)), split.value


def _text(report: Report) -> Group:
    from rich.console import Group
    from rich.table import Table

    from napari_graydet.workflows.evaluation.report import SUMMARY_HEADINGS, shown

    table = Table(box=None, header_style="dim", pad_edge=False)
    labels: list[str | None] = [*report.labels]
    if len(labels) > 1:
        labels.append(None)
    table.add_column("mean over images")
    for label in labels:
        table.add_column(label or "all", justify="right")
        table.add_column("n", justify="right", style="dim")
    means = [report.means(label) for label in labels]
    for name, heading in SUMMARY_HEADINGS.items():
        cells = [cell for m in means for cell in (shown(m[name].value), str(m[name].n))]
        table.add_row(heading, *cells)
    return Group(report.title(), "", table)
