"""``napari-graydet doctor``: what is installed, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_graydet.cli.boundary import OK, UNEXPECTED, Result
from napari_graydet.cli.options import Debug, Json

if TYPE_CHECKING:
    from napari_graydet.cli.checks import Check


def doctor(json: Json = False, debug: Debug = False) -> Result:
    """Look at packages, window, device and weights.

    Exits with 1 if something is missing that the program needs.
    """
    from napari_graydet.cli.checks import Status, all_checks

    checks = list(all_checks())
    failed = any(check.status is Status.FAILED for check in checks)
    document = {
        "ok": not failed,
        "checks": [
            {"name": c.name, "status": c.status.value, "detail": c.detail, "hint": c.hint}
            for c in checks
        ],
    }
    return Result(document, _table(checks), UNEXPECTED if failed else OK)


def _table(checks: list[Check]) -> object:
    from rich.table import Table
    from rich.text import Text

    style = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        detail = Text(check.detail)
        if check.hint:
            detail.append(f"\n-> {check.hint}", style="dim")
        status = Text(check.status.value, style=style[check.status.value])
        table.add_row(status, Text(check.name), detail)
    return table
