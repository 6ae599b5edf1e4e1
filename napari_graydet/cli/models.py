"""``napari-graydet models list|use|rollback|delete``: the trained models of a project."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_graydet.cli.boundary import Result, complain
from napari_graydet.cli.options import Debug, Json
from napari_graydet.errors import ProjectError

if TYPE_CHECKING:
    from napari_graydet.project.model_registry import ModelRegistry


class Action(enum.StrEnum):
    """What to do with the models."""

    LIST = "list"
    USE = "use"
    ROLLBACK = "rollback"
    DELETE = "delete"


def models(
    action: Annotated[
        Action,
        typer.Argument(
            help="**list** them; **use** one; **rollback** to what was in use before; "
            "**delete** one that is not in use.",
            show_default=False,
        ),
    ],
    project: Annotated[
        Path,
        typer.Argument(
            metavar="PROJECT", help="Project, or folder that was trained into.", show_default=False
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Number of a model; **shipped** for what comes with the program.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Use only its **roi**, its **boxes** or its **refiner** weights.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Result:
    """Show trained models, choose which one is in use, and go back.

    Nothing is deleted but by **delete**. Without a choice the weights that come with the program
    are used.
    """
    from napari_graydet.project.model_registry import ModelRegistry
    from napari_graydet.project.settings import FILE_NAME

    registry = ModelRegistry(project)
    if (action in (Action.USE, Action.DELETE)) != (model is not None):
        raise ProjectError(
            "Give the number of a model to use or delete; list and rollback take none."
        )
    if kind is not None and action is not Action.USE:
        raise ProjectError("Only use takes --kind; leave it out.")
    if model is not None and action is Action.DELETE:
        registry.delete(model)
    elif model is not None:
        registry.activate(model, None if kind is None else [kind])
    elif action is Action.ROLLBACK:
        registry.roll_back()
    elif not registry.folder.is_dir() and not (project / FILE_NAME).is_file():
        raise ProjectError(
            f"{project} is no project, and no folder that was trained into; check its name."
        )
    return _listed(registry)


def _listed(registry: ModelRegistry) -> Result:
    from rich.table import Table

    from napari_graydet.project.model_entry import main_figures

    active, damaged = registry.choices(), registry.damaged()
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("model", "status", "parts", "preset", "from", "images", "held-out scores"):
        table.add_column(column, overflow="fold")
    documents: list[dict[str, Any]] = []
    for entry in registry.entries():
        kinds = [kind for kind, run_id in active.items() if run_id == entry.id]
        alive = entry.status == "running" and registry.is_training(entry.id)
        documents.append(entry.model_dump(mode="json") | {"active": kinds, "training": alive})
        mains = (main_figures(figures) for figures in entry.scores.values())
        scores = (f"{k} {v:.3f}" for figures in mains for k, v in figures.items())
        table.add_row(
            f"{entry.id}{' in use: ' + ', '.join(kinds) if kinds else ''}",
            "interrupted" if entry.status == "running" and not alive else entry.status,
            ", ".join(entry.parts),
            entry.preset,
            ", ".join(dict.fromkeys(entry.parents.values())),
            "" if entry.split is None else str(len(entry.split.train)),
            entry.message or "; ".join([", ".join(scores), *entry.notes.values()]),
        )
    for run_id, message in damaged.items():
        complain(f"model {run_id}: {message}")
    document = {"models": documents, "active": active, "damaged": damaged}
    if documents or active:
        return Result(document, table)
    return Result(document, "No models are trained yet: shipped ones are used.")
