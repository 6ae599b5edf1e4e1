"""R1: after a kill the log is still there; no other program may delete it under a new window.

On POSIX systems a process loses its locks on a file as soon as it closes that file anywhere. A
search for images that looked into the database did so, and a training that read the project then
deleted the log into which the window went on saving.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.errors import ImageError, ProjectError
from napari_graydet.io.images import find_images, read_image
from napari_graydet.project.database import log_path
from napari_graydet.project.store import ProjectStore
from tests.reliability.children import start

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems lock by handle")


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A project in a folder of images whose program was killed."""
    for name in ("a.png", "b.png"):
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / name)
    ProjectStore.open_or_create(tmp_path).close()
    child, _ = start(_add_class_and_die, tmp_path)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert log_path(tmp_path / "annotations.db").exists()
    return tmp_path


def _add_class_and_die(folder: Path, pipe: Connection) -> None:
    ProjectStore.open_or_create(folder).add_class("bone")
    os.kill(os.getpid(), signal.SIGKILL)


def _read_and_close(folder: Path, pipe: Connection) -> None:
    with ProjectStore.open(folder) as store:
        pipe.send(len(store.entries()))


def _read_in_another_program(folder: Path) -> None:
    child, pipe = start(_read_and_close, folder)
    assert pipe.poll(60) and pipe.recv() == 2
    child.join(60)
    assert child.exitcode == 0


def _classes_on_disk(folder: Path) -> set[str]:
    uri = f"file:{folder / 'annotations.db'}?mode=ro"
    with sqlite3.connect(uri, uri=True) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM classes")}


def test_what_is_saved_beside_another_program_is_on_disk(killed: Path) -> None:
    with ProjectStore.open_or_create(killed) as store:
        find_images(killed)  # as a window does that looks for new images
        assert len(store.entries()) == 2
        _read_in_another_program(killed)
        store.add_class("second")
        child = multiprocessing.get_context("spawn").Process(target=_expect, args=(killed,))
        child.start()
        child.join(60)
        assert child.exitcode == 0


def _expect(folder: Path) -> None:
    sys.exit(0 if _classes_on_disk(folder) >= {"bone", "second"} else 1)


def test_no_file_of_the_database_is_opened_but_by_sqlite(killed: Path) -> None:
    opened: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching:
            opened.append(Path(str(arguments[0])).name)

    sys.addaudithook(watch)
    with ProjectStore.open_or_create(killed):
        find_images(killed, recursive=True)
        for name in ("annotations.db", "annotations.db-shm"):
            with pytest.raises(ImageError, match="rename it"):
                read_image(killed / name)
    watching.clear()
    assert "graydet.toml" in opened, "the watch works"
    assert not {"annotations.db", "annotations.db-shm"} & set(opened)


def test_a_log_that_was_deleted_under_us_is_no_silent_loss(killed: Path) -> None:
    with ProjectStore.open(killed) as store:
        store.add_class("second")
        log_path(killed / "annotations.db").unlink()
        with pytest.raises(ProjectError, match="open the project again"):
            store.add_class("third")
