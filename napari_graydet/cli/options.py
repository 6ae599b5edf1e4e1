"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document instead of text.", show_default=False),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)
]
Project = Annotated[
    Path, typer.Argument(metavar="PROJECT", help="Folder of a project.", show_default=False)
]
_MODELS = "Models"
Device = Annotated[
    str, typer.Option(help="auto, cuda, mps or cpu.", rich_help_panel=_MODELS, metavar="DEVICE")
]
RoiWeights = Annotated[
    str | None,
    typer.Option(
        help="ROI detector: a weights file instead of the shipped one.",
        rich_help_panel=_MODELS,
        metavar="FILE",
        show_default=False,
    ),
]
BoxWeights = Annotated[
    str | None,
    typer.Option(
        help="3D box detector instead of the shipped one: weights, **otsu** or **multi-otsu**.",
        rich_help_panel=_MODELS,
        metavar="FILE",
        show_default=False,
    ),
]
RefinerWeights = Annotated[
    str | None,
    typer.Option(
        "--refiner",
        help="Correct the masks of the boxes with this refiner: a weights file, or **shipped**; "
        "default: the one that a project uses, else none.",
        rich_help_panel=_MODELS,
        metavar="FILE",
        show_default=False,
    ),
]


def numbers(text: str, count: int, what: str) -> list[float]:
    """Read `count` numbers with commas between them; `what` says what they are in errors."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise typer.BadParameter(f"expected {what}, got {text!r}.")
    return values


def names(text: str, option: str) -> list[str]:
    """Read names with commas between them; `option` is the one that gives them, for errors.

    An empty name is refused, not left out: the places of class names can be their ids.
    """
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise typer.BadParameter(f"expected {option} NAME,NAME,... without gaps, got {text!r}.")
    return found
