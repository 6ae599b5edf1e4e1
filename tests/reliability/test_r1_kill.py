"""R1: kill the program at any moment; nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from napari_graydet.errors import ProjectError
from napari_graydet.project.history import History
from napari_graydet.project.store import ProjectStore
from tests.project.projects import make_project
from tests.reliability import children


def _kill_while_editing(folder: Path, kills: int) -> str:
    rng = random.Random(kills)
    make_project(folder, 5).close()
    acknowledged: list[children.Ack] = []
    slowest = 0.0
    for seed in range(kills):
        child, pipe = children.start(children.edit_and_accept, folder, seed)
        if seed % 4:  # the others are killed while they open
            pipe.poll(30)
        time.sleep(rng.uniform(0, 0.15))
        child.kill()
        child.join()
        new = children.received(pipe)
        began = time.perf_counter()
        with ProjectStore.open(folder) as store:
            slowest = max(slowest, time.perf_counter() - began)
            _check(store, new)
        acknowledged += new
    with ProjectStore.open(folder, who="child") as store:
        _check(store, acknowledged)
        history = History(store)
        undone = 0
        while history.undo():
            undone += 1
    assert acknowledged and undone
    return (
        f"R1: {kills} kills, {len(acknowledged)} acknowledged, 0 lost, 0 unreadable, "
        f"slowest reopening {slowest:.2f} s, {undone} edits undone afterwards"
    )


def _check(store: ProjectStore, acknowledged: list[children.Ack]) -> None:
    for image_id, revision, fingerprint in acknowledged:
        assert children.fingerprint(store.record_at(image_id, revision)) == fingerprint
    for entry in store.entries():
        revisions = store.revisions(entry.id)
        assert [r.revision for r in revisions] == list(range(1, entry.revision + 1))
        if revisions:
            assert store.annotation(entry.id)[0] == store.record_at(entry.id, entry.revision)


def test_thirty_kills_lose_nothing(tmp_path: Path) -> None:
    print(_kill_while_editing(tmp_path / "project", 30))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    print(_kill_while_editing(tmp_path / "project", 200))


def test_killed_while_creating_there_is_a_whole_project_or_none(tmp_path: Path) -> None:
    child, pipe = children.start(children.create, tmp_path / "undisturbed", 200)
    began = time.perf_counter()
    assert pipe.poll(60)
    takes = time.perf_counter() - began
    child.join()
    whole = 0
    for i in range(12):  # from the first moment to after the end, however fast the machine is
        folder = tmp_path / str(i)
        child, pipe = children.start(children.create, folder, 200)
        pipe.poll(60 if i == 11 else 1.2 * takes * i / 10)
        child.kill()
        child.join()
        try:
            with ProjectStore.open(folder) as store:
                assert len(store.entries()) == 200
            whole += 1
        except ProjectError as error:
            assert "is not a project" in str(error)
            assert not children.received(pipe)
            make_project(folder, 3).close()
    assert 0 < whole < 12
    print(f"R1: 12 kills while creating, {whole} whole projects, {12 - whole} none, 0 halves")
