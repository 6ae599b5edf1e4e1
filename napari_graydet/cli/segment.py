"""``napari-graydet segment``: masks and boxes as files, without a project."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_graydet.cli.boundary import BAD_INPUT, OK, Result, complain
from napari_graydet.cli.options import (
    BoxWeights,
    Debug,
    Device,
    Json,
    RefinerWeights,
    RoiWeights,
    numbers,
)
from napari_graydet.cli.progress import progress_bar

if TYPE_CHECKING:
    from napari_graydet.workflows.batch import SegmentReport


class IfNone(enum.StrEnum):
    """What to do with an image in which no ROI is found."""

    WHOLE = "whole"
    EMPTY = "empty"


_WHERE, _WHAT = "Region and thresholds", "Result"


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Images, or folders of images.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the results.")
    ],
    roi: Annotated[
        list[str] | None,
        typer.Option(
            help="Region in pixels instead of detection, again for more; or **whole**.",
            metavar="X0,Y0,X1,Y1",
            rich_help_panel=_WHERE,
            show_default=False,
        ),
    ] = None,
    gray: Annotated[
        str | None,
        typer.Option(
            "--range",
            help="Thresholds in stored gray values, both inside, instead of detection.",
            metavar="LOW,HIGH",
            rich_help_panel=_WHERE,
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Class of the given regions, or the only class to keep of the detected ones.",
            rich_help_panel=_WHERE,
            metavar="CLASS",
            show_default=False,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            help="Least score of detected regions; default: the detector's own.",
            min=0.0,
            max=1.0,
            rich_help_panel=_WHERE,
            metavar="0..1",
            show_default=False,
        ),
    ] = None,
    if_none: Annotated[
        IfNone,
        typer.Option(
            help="Where no region is found: take the whole image, or leave the mask empty.",
            rich_help_panel=_WHERE,
        ),
    ] = IfNone.WHOLE,
    frame: Annotated[
        int | None,
        typer.Option(
            help="Which frame of a multi-frame DICOM file, from 0.",
            min=0,
            rich_help_panel=_WHERE,
            show_default=False,
        ),
    ] = None,
    cleanup: Annotated[
        str | None,
        typer.Option(
            help="Clean the mask: **light**, or any of opening=1, fill_holes, keep_largest=2, "
            "min_area=50 with commas between. Off unless given; recorded.",
            rich_help_panel=_WHAT,
            metavar="light|SETTINGS",
            show_default=False,
        ),
    ] = None,
    roi_weights: RoiWeights = None,
    box_weights: BoxWeights = None,
    refiner: RefinerWeights = None,
    device: Device = "auto",
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Segment images: a mask (PNG) and a record (JSON) for each.

    Writes DIR/NAME.png (0/255, or label ids with several classes) and DIR/NAME.json with the
    regions, the 3D boxes and all else that the mask is made of. Existing results are replaced.
    """
    if roi and min_score is not None:
        raise typer.BadParameter("--min-score is for detected regions, --roi gives them.")
    from napari_graydet.workflows.batch import segment_files
    from napari_graydet.workflows.predict import Predictor

    with progress_bar("Segmenting") as show:
        report = segment_files(
            images,
            out,
            predictor=Predictor(
                roi_weights, box_weights, device, refiner_source=refiner, notice=complain
            ),
            on_notice=complain,
            on_progress=show,
            roi=_rois(roi),
            gray_range=None if gray is None else _gray_range(gray),
            label=label,
            cleanup=None if cleanup is None else _cleanup(cleanup),
            if_none=if_none.value,
            min_score=min_score,
            frame=frame,
        )
    return _result(report, out)


def _rois(values: list[str] | None) -> object:
    if not values:
        return None
    if "whole" in values:
        if len(values) > 1:
            raise typer.BadParameter("--roi whole cannot be joined with other regions.")
        return "whole"
    return [tuple(numbers(value, 4, "--roi X0,Y0,X1,Y1 or whole")) for value in values]


def _gray_range(value: str) -> tuple[int, int]:
    low, high = numbers(value, 2, "--range LOW,HIGH")
    if not (low.is_integer() and high.is_integer()):
        raise typer.BadParameter(f"--range takes whole gray values, got {value!r}.")
    return int(low), int(high)


def _cleanup(value: str) -> object:
    from pydantic import ValidationError

    from napari_graydet.project.schema import CleanUpRecord
    from napari_graydet.workflows.segment import LIGHT

    if value == LIGHT:
        return value
    settings: dict[str, Any] = {}
    for part in value.split(","):
        name, _, number = part.strip().partition("=")
        if name == "fill_holes" and not number:
            settings[name] = True
        elif name in ("opening", "keep_largest", "min_area") and number.isdecimal():
            settings[name] = int(number)
        else:
            raise typer.BadParameter(
                "expected --cleanup light, or settings out of opening=N, fill_holes, "
                f"keep_largest=N, min_area=N with whole numbers N from 0; got {part!r}."
            )
    try:
        return CleanUpRecord(**settings).core()
    except ValidationError as error:
        detail = error.errors()[0]
        raise typer.BadParameter(
            f"--cleanup {detail['loc'][0]}={detail['input']}: {str(detail['msg']).lower()}."
        ) from error


def _result(report: SegmentReport, out: Path) -> Result:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("image", "class", "region x0, y0, x1, y1", "gray range", "score", "mask"):
        table.add_column(column, overflow="fold")
    for done in report.done:
        record = done.record
        share = f"{done.mask_pixels / (record.width * record.height):.1%}"
        rows = [
            (
                box.label,
                ", ".join(f"{v:.0f}" for v in (box.x0, box.y0, box.x1, box.y1)),
                f"{box.low}..{box.high}",
                "" if box.score is None else f"{box.score:.2f}",
            )
            for box in record.boxes
        ] or [("", "nothing found", "", "")]
        for number, row in enumerate(rows):
            table.add_row(*(("", *row, "") if number else (record.image, *row, share)))
    document = {
        "out": str(out),
        "images": [done.summary() for done in report.done],
        "failed": [{"image": f.name, "error": f.message} for f in report.failed],
    }
    return Result(document, table if report.done else None, BAD_INPUT if report.failed else OK)
