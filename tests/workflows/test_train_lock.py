"""Two processes never train the same run; a killed one leaves the way free."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from napari_graydet.errors import ProjectError
from napari_graydet.io.lock import GLANCE, exclusive
from napari_graydet.project.model_registry import RUN_FILE, ModelRegistry
from napari_graydet.workflows.training.request import TrainRequest
from tests.workflows import lock_child
from tests.workflows.trainings import make_folders

SLOWEST = 120.0


def said(pipe: Connection) -> str:
    assert pipe.poll(SLOWEST), "the other process said nothing"
    return str(pipe.recv())


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process that is at run 0001, in the middle of a step."""
    images, masks = make_folders(tmp_path / "data")
    request = TrainRequest.of(parts="boxes", images=str(images), masks=str(masks), label="bone")
    child, pipe = lock_child.start(lock_child.stay, request, tmp_path)
    assert said(pipe) == "at work"
    yield child, pipe
    child.kill()


def resumed(folder: Path) -> str:
    child, pipe = lock_child.start(lock_child.go_on, folder)
    answer = said(pipe)
    child.join(SLOWEST)
    return answer


def test_a_run_that_another_process_trains_is_left_alone(
    tmp_path: Path, at_work: tuple[BaseProcess, Connection]
) -> None:
    child, pipe = at_work
    run_file = ModelRegistry(tmp_path).run_folder("0001") / RUN_FILE
    before = run_file.read_bytes()
    answer = resumed(tmp_path)
    assert answer.startswith("ProjectError: Model 0001 is being trained by another process")
    assert "\n" not in answer
    assert run_file.read_bytes() == before
    pipe.send("go on")
    assert said(pipe) == "done"
    child.join(SLOWEST)
    assert "is done" in resumed(tmp_path)


def test_a_killed_process_leaves_the_way_free(
    tmp_path: Path, at_work: tuple[BaseProcess, Connection]
) -> None:
    child, _ = at_work
    child.kill()
    child.join(SLOWEST)
    assert ModelRegistry(tmp_path).entry("0001").status == "running"
    assert resumed(tmp_path) == "done"


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    def lock(path: Path) -> AbstractContextManager[None]:
        return exclusive(path, error=ProjectError, taken="somebody has it")

    for _ in range(2):
        with (
            lock(tmp_path / "lock"),
            pytest.raises(ProjectError, match="somebody has it"),
            lock(tmp_path / "lock"),
        ):
            raise AssertionError("two at once")
    with pytest.raises(ProjectError, match="Could not write"), lock(tmp_path / "none" / "lock"):
        raise AssertionError("no such folder")


def test_a_glance_at_a_lock_does_not_turn_a_training_away(tmp_path: Path) -> None:
    path, held = tmp_path / "lock", threading.Event()

    def glance() -> None:
        with exclusive(path, error=ProjectError, taken="glance"):
            held.set()
            time.sleep(GLANCE / 5)

    looker = threading.Thread(target=glance)
    looker.start()
    assert held.wait(SLOWEST)
    with exclusive(path, error=ProjectError, taken="turned away", patience=10 * GLANCE):
        looker.join(SLOWEST)
