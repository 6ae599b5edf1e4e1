"""``napari-graydet compare``: methods against each other on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_graydet.cli.boundary import Result, complain
from napari_graydet.cli.data_options import (
    DATA,
    LABEL,
    Images,
    Label,
    Masks,
    Patients,
    TrueProject,
    read_data,
)
from napari_graydet.cli.options import Debug, Device, Json, names
from napari_graydet.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from napari_graydet.workflows.compare.compare import OnJob
    from napari_graydet.workflows.compare.summary import Table
    from napari_graydet.workflows.events import OnProgress

_HOW = "How"
_DEFAULT = "graydet+refiner,graydet,unet,ridge,otsu"
_TRAINED, _TESTED, _PICTURE = "train", "test", "cases.png"


def compare(
    project: TrueProject = None,
    images: Images = None,
    masks: Masks = None,
    label: Label = LABEL,
    patients: Patients = None,
    test: Annotated[
        float,
        typer.Option(
            help="Share of the images to test on, the same for all methods, by patient.",
            rich_help_panel=DATA,
            metavar="0..1",
        ),
    ] = 0.3,
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="**fcn**, **unet**, **res-unet**, **unet++**, **attention-unet**: networks on "
            "whole images; **graydet**, **graydet+refiner**, **paper**; **otsu**, **multi-otsu**, "
            "**constant**, **ridge**: simple rules.",
            rich_help_panel=_HOW,
        ),
    ] = _DEFAULT,
    n: Annotated[
        str | None,
        typer.Option(
            "--n",
            metavar="N,...",
            help="Numbers of training images; default: all that are not tested on.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="How often to train each.", rich_help_panel=_HOW)
    ] = 2,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of the whole-image networks; default: 1000. Ours have their own.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Time to train each method, instead.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Weights that ours start from, several, each for the part that it fits: darknet's "
            ".weights and a pretrained PointNet for **paper**. Default: the shipped ones.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Method that the others are tested against; default: graydet+refiner, if it is "
            "there, or graydet.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for results and tables.")
    ] = Path("comparison"),
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Compare methods: train each on the same images, score all on the same others.

    Writes DIR/comparison.md and .json (means with 95 % intervals by patient, paired tests),
    scores.csv (every image) and cases.png. What is computed stays in DIR/results: run it again to
    go on, or with more methods. `--minutes` gives every method the same time.
    """
    from napari_graydet.workflows.compare import compare as workflow
    from napari_graydet.workflows.compare.methods import chosen, require_used
    from napari_graydet.workflows.compare.picture import write_picture
    from napari_graydet.workflows.compare.summary import summarise
    from napari_graydet.workflows.compare.tables import document, write_tables
    from napari_graydet.workflows.compare.task import starts_of

    wanted = chosen(names(methods, "--methods"))
    data = read_data(project, images, masks, label=label, patients=patients)
    for notice in data.notices:
        complain(notice)
    pool, tested = workflow.divided(data, test)
    starts = starts_of(start or [])
    require_used(starts, wanted)
    if reference is not None and reference not in wanted:
        raise typer.BadParameter(f"expected --reference among {methods}, got {reference!r}.")
    jobs = workflow.jobs_of(
        wanted,
        train=_TRAINED,
        numbers=_counts(n) if n is not None else [len(pool.cases)],
        seeds=range(seeds),
        iterations=iterations,
        minutes=minutes,
    )
    series = workflow.Series(
        _TRAINED,
        pool,
        {_TESTED: tested},
        out / "results",
        out / "work",
        device,
        starts,
    )
    with progress_bar("Comparing") as show:
        workflow.run_jobs(series, jobs, on_job=_shown(show))
    results = series.finished()
    for result in results:
        for note in result.notes:
            complain(f"{result.job.key}: {note.rstrip('.')}.")
    tables = summarise(results, reference)
    written = write_tables(tables, results, out)
    if write_picture(out / _PICTURE, _TESTED, tested, series.kept_masks()):
        written.append(out / _PICTURE)
    files = {"files": [str(path) for path in written]}
    return Result(document(tables) | files, _text(tables))


def _counts(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected --n N,... with whole numbers from 1, got {text!r}.")
    return [int(part) for part in parts]


def _shown(show: OnProgress) -> OnJob:
    from napari_graydet.workflows.events import Progress

    def told(done: int, jobs: int, what: str, share: float) -> None:
        show(Progress(done, jobs, f"{what} {share:.0%}" if share else what))

    return told


def _text(tables: Sequence[Table]) -> Group:
    from rich.console import Group
    from rich.table import Table as Printed

    from napari_graydet.workflows.compare.tables import NOTHING, shown_interval

    printed = []
    for table in tables:
        page = Printed(box=None, header_style="dim", pad_edge=False, title=table.title)
        page.title_justify, page.title_style = "left", "none"
        for heading in ("method", "DSC [95 %]", "IoU [95 %]", "gain [95 %]", "p", "training s"):
            page.add_column(heading)
        for line in table.lines:
            page.add_row(
                line.method,
                shown_interval(line.dice),
                shown_interval(line.iou),
                NOTHING if line.gain is None else shown_interval(line.gain.gain, signed=True),
                NOTHING if line.p is None else f"{line.p:.3f}",
                f"{line.train_seconds:.0f}",
            )
        printed.append(page)
    return Group(*printed)
