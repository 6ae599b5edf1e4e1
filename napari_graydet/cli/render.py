"""``napari-graydet render``: masks from records, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_graydet.cli.boundary import BAD_INPUT, OK, Result, complain
from napari_graydet.cli.options import Debug, Json
from napari_graydet.cli.project import opened

if TYPE_CHECKING:
    from napari_graydet.workflows.events import Failure
    from napari_graydet.workflows.render import Rendered


def render(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RECORD|PROJECT",
            help="A JSON record (of segment or export), or the folder of a project.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the masks.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="The record's image or its folder; default: beside the record.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Make masks from records again, and explain them.

    It says how much of each mask the gray range explains: the share is the IoU of the boxes' mask
    and the final one; the rest was painted.
    """
    outcomes = _project(source, out) if source.is_dir() else _record(source, out, images)
    return _result(outcomes, out)


def _record(source: Path, out: Path, images: Path | None) -> list[Rendered | Failure]:
    from napari_graydet.workflows.render import render_record

    return [render_record(source, out, images)]


def _project(source: Path, out: Path) -> list[Rendered | Failure]:
    from napari_graydet.workflows.render import render_project

    with opened(source) as store:
        return list(render_project(store, out))


def _result(outcomes: list[Rendered | Failure], out: Path) -> Result:
    from rich.table import Table

    from napari_graydet.workflows.events import Failure

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("image", "class", "pixels", "gray range explains", "painted", "erased"):
        table.add_column(column, justify="left" if column in ("image", "class") else "right")
    rendered: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            complain(f"{outcome.name}: {outcome.message}")
            failed.append({"image": outcome.name, "error": outcome.message})
            continue
        rendered.append(_entry(outcome))
        for s in outcome.shares:
            counts = (f"{s.pixels}", f"{s.explained:.1%}", f"+{s.added}", f"-{s.erased}")
            table.add_row(outcome.image, s.label, *counts)
        if not outcome.shares:
            table.add_row(outcome.image, "nothing here", "0", "", "", "")
    document = {"out": str(out), "masks": rendered, "failed": failed}
    if not outcomes:
        return Result(document, "No image has a proposal or an annotation yet: nothing to render.")
    return Result(document, table if rendered else None, BAD_INPUT if failed else OK)


def _entry(rendered: Rendered) -> dict[str, Any]:
    shares = {
        s.label: {
            "pixels": s.pixels,
            "explained": s.explained,
            "added": s.added,
            "erased": s.erased,
        }
        for s in rendered.shares
    }
    return {"image": rendered.image, "mask_file": rendered.path.name, "labels": shares}
