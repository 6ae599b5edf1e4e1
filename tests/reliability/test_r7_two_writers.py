"""R7: two processes in one project; every edit is there, or was reported as a conflict."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from napari_graydet.project.store import ProjectStore
from tests.project.projects import make_project
from tests.reliability import children

SERVER = "GRAYDET_TEST_POSTGRESQL"


def _compete(folder: Path, edits: int) -> str:
    who = ("anna", "bo")
    started = [children.start(children.compete, folder, w, edits, i) for i, w in enumerate(who)]
    reports: list[children.Ack] = []
    for child, pipe in started:
        while True:  # read while they write, or the pipe fills
            try:
                reports.append(pipe.recv())
            except EOFError:
                break
        child.join(60)
        assert child.exitcode == 0
    saved = [report for report in reports if report[1] > 0]
    conflicts = len(reports) - len(saved)
    assert len(reports) == 2 * edits
    counts = Counter((image_id, revision) for image_id, revision, _ in saved)
    assert max(counts.values()) == 1  # no revision was given to two
    with ProjectStore.open(folder) as store:
        for image_id, revision, fingerprint in saved:
            assert children.fingerprint(store.record_at(image_id, revision)) == fingerprint
        assert sum(entry.revision for entry in store.entries()) == len(saved)
    return f"{len(saved)} edits saved and all there, {conflicts} reported as conflicts, 0 lost"


def test_two_processes_share_a_project(tmp_path: Path) -> None:
    make_project(tmp_path / "project", 4).close()
    print("R7 (SQLite, 2 x 80 edits, 4 images):", _compete(tmp_path / "project", 80))


@pytest.mark.long
def test_two_processes_with_five_hundred_edits_each(tmp_path: Path) -> None:
    make_project(tmp_path / "project", 20).close()
    print("R7 (SQLite, 2 x 500 edits, 20 images):", _compete(tmp_path / "project", 500))


@pytest.mark.skipif(
    SERVER not in os.environ, reason=f"set {SERVER} to the URL of an empty database"
)
def test_two_processes_on_a_server(tmp_path: Path) -> None:
    make_project(tmp_path / "project", 20, database=os.environ[SERVER]).close()
    print("R7 (PostgreSQL, 2 x 500 edits, 20 images):", _compete(tmp_path / "project", 500))
