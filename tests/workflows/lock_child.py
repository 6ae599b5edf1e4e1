"""Trainings in processes of their own: one that stays at its work, and one that goes on with it."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from napari_graydet.errors import GraydetError
from napari_graydet.workflows.training import parts as train_parts
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.train import resume, train
from tests.workflows.trainings import QuickPart, quick_part

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def _quick() -> None:
    train_parts.PARTS["boxes"] = quick_part(QuickPart())


def stay(request: TrainRequest, folder: Path, pipe: Connection) -> None:
    """Train to the first told step, say so, and stay there until the word to go on."""
    _quick()

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and event["step"] == 1:
            pipe.send("at work")
            pipe.recv()

    pipe.send(train(request, folder, on_event=on_event).status)


def go_on(folder: Path, pipe: Connection) -> None:
    """Resume the first run; report its end, or the error."""
    _quick()
    try:
        pipe.send(resume("0001", folder).status)
    except GraydetError as error:
        pipe.send(f"{type(error).__name__}: {error}")


def start(target: Any, *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start a child; return it with our end of a pipe to it."""
    ours, theirs = _CONTEXT.Pipe()
    child = _CONTEXT.Process(target=target, args=(*arguments, theirs), daemon=True)
    child.start()
    theirs.close()
    return child, ours
