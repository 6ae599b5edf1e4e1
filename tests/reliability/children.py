"""What the killed and the competing processes of the reliability tests run.

They are forked from a server that has the imports done, so that a test can afford hundreds.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import alembic.command  # noqa: F401  (so that a child that makes a project need not load it)

from napari_graydet.errors import ConflictError
from napari_graydet.project import migrations
from napari_graydet.project.history import History
from napari_graydet.project.schema import Annotation, State
from napari_graydet.project.store import ProjectStore
from tests.project.projects import SHAPE, edited, make_project

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])

Ack = tuple[int, int, str]
"""Image, revision, and hash of the record that the store acknowledged."""


def start(target: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start a child; it gets the arguments and the end of a pipe to report to."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(target=target, args=(*arguments, theirs), daemon=True)
    child.start()
    theirs.close()
    return child, ours


def received(pipe: Connection) -> list[Ack]:
    """Return everything that a child, now dead, had reported."""
    messages: list[Ack] = []
    try:
        while pipe.poll():
            messages.append(pipe.recv())
    except EOFError:
        pass
    return messages


def fingerprint(record: Annotation) -> str:
    return hashlib.sha256(record.model_dump_json().encode()).hexdigest()


def edit_and_accept(folder: Path, seed: int, pipe: Connection) -> None:
    """Work as a researcher does, without end, and report each acknowledged revision."""
    rng = random.Random(seed)
    store = ProjectStore.open(folder, who="child")
    history = History(store)
    ids = [entry.id for entry in store.entries()]
    while True:
        image_id: int | None = rng.choice(ids)
        assert image_id is not None
        record = history.load(image_id, SHAPE)
        what = rng.random()
        if what < 0.15:
            image_id = history.undo()
        elif what < 0.25:
            image_id = history.redo()
        elif what < 0.4:
            history.do(image_id, record.model_copy(update={"state": State.ACCEPTED}), "accept")
        else:
            history.do(image_id, edited(rng.randrange(10_000)), "drag")
        if image_id is not None:
            saved, revision = store.annotation(image_id)
            pipe.send((image_id, revision, fingerprint(saved)))


def create(folder: Path, count: int, pipe: Connection) -> None:
    """Make a project, and say so when it exists."""
    make_project(folder, count).close()
    pipe.send((0, 0, "created"))


def compete(folder: Path, who: str, edits: int, seed: int, pipe: Connection) -> None:
    """Edit images that others edit too; report what was saved, and conflicts with revision -1."""
    rng = random.Random(seed)
    store = ProjectStore.open(folder, who=who)
    ids = [entry.id for entry in store.entries()]
    for _ in range(edits):
        image_id = rng.choice(ids)
        _, revision = store.annotation(image_id, SHAPE)
        record = edited(rng.randrange(60_000))
        try:
            revision = store.save(
                image_id, record, expected_revision=revision, source="human", action="drag"
            )
        except ConflictError:
            pipe.send((image_id, -1, who))
        else:
            pipe.send((image_id, revision, fingerprint(record)))
    store.close()


def migrate(folder: Path, scripts: Path, head: str, pipe: Connection) -> None:
    """Open a project with a later schema."""
    migrations.SCRIPTS, migrations.HEAD = scripts, head
    pipe.send((0, 0, "begins"))
    ProjectStore.open(folder).close()
