"""The command line: one file per verb, ``napari-graydet VERB --help`` explains each.

Importing this package loads typer only; a verb imports what it needs when it runs, so that
``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import napari_graydet
from napari_graydet.cli import (
    compare,
    demo,
    doctor,
    evaluate,
    export,
    init,
    models,
    predict,
    pretrain,
    recover,
    render,
    segment,
    train,
)
from napari_graydet.cli import open as open_
from napari_graydet.cli.boundary import Boundary, Result

app = typer.Typer(
    name="napari-graydet",
    cls=Boundary,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try it: `napari-graydet demo`, or `napari-graydet segment forearm.png -o masks`",
)

_PANELS: dict[str, dict[str, Callable[..., Result]]] = {
    "The window": {"demo": demo.demo, "open": open_.open_path},
    "Files, without a project": {"segment": segment.segment, "render": render.render},
    "A project": {
        "init": init.init,
        "predict": predict.predict,
        "export": export.export,
        "recover": recover.recover,
    },
    "Models that learn": {
        "train": train.train,
        "evaluate": evaluate.evaluate,
        "compare": compare.compare,
        "models": models.models,
        "pretrain": pretrain.pretrain,
    },
    "This installation": {"doctor": doctor.doctor},
}
for _panel, _verbs in _PANELS.items():
    for _name, _verb in _verbs.items():
        app.command(_name, rich_help_panel=_panel)(_verb)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-graydet {napari_graydet.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a folder of grayscale radiographs to trustworthy masks.

    A region of interest is found in the image, its pixels become a cloud in x, y and gray, and a
    3D box in that cloud gives two thresholds: the mask. You correct, accept, and export.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: the console script ``napari-graydet``."""
    app()
