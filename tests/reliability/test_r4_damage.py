"""R4: cut off or flip bits in a project's files; it is detected, named and kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graydet.errors import DamagedProjectError, ProjectError
from napari_graydet.project import log, safekeeping
from napari_graydet.project.history import History
from napari_graydet.project.store import ProjectStore
from tests.project.projects import CLASSES, SHAPE, blank, edited, make_project, painted, predicted

DATABASE, BACKUP = "annotations.db", "annotations.backup.db"
PAGE = 4096


def _worked_on(folder: Path) -> None:
    """Make a project in which some work was done."""
    with make_project(folder, 8) as store:
        history = History(store)
        for i in range(12):
            history.do(1 + i % 5, edited(i), f"edit {i}")
        store.save_prediction(6, predicted(), "net")
        store.save(7, painted(3000), expected_revision=0, source="human", action="paint")


def _everything(folder: Path) -> list[Any]:
    """Read all there is in a project, as the program would."""
    with ProjectStore.open(folder) as store:
        found: list[Any] = [store.classes]
        for entry in store.entries():
            revisions = store.revisions(entry.id)
            found += [entry, revisions, store.image_path(entry.id)]
            found += [store.record_at(entry.id, r.revision) for r in revisions]
            if entry.revision:
                found.append(store.annotation(entry.id))
        return found


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"}


def _verdict(folder: Path, truth: list[Any]) -> str:
    """Read a damaged project: an error that names it, or nothing lost; the bytes stay."""
    before = _bytes(folder)
    try:
        found = _everything(folder)
    except ProjectError as error:
        assert "\n" not in str(error)
        verdict = "reported"
    else:
        assert found == truth
        verdict = "harmless"
    after = _bytes(folder)
    assert {name: after[name] for name in before} == before
    return verdict


def _damage_and_read(folder: Path, truth: list[Any], name: str, data: bytes) -> str:
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        return _verdict(folder, truth)
    finally:
        (folder / name).write_bytes(original)


def _flips(size: int, count: int, seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    at = [*range(0, min(100, size), 7), *rng.integers(0, size, count)]
    return [(int(i), 1 << int(rng.integers(8))) for i in at]


@pytest.mark.parametrize("count", [80, pytest.param(3000, marks=pytest.mark.long)])
def test_flipped_bits_in_the_database(folder: Path, count: int) -> None:
    _worked_on(folder)
    truth, data = _everything(folder), (folder / DATABASE).read_bytes()
    verdicts = []
    for at, bit in _flips(len(data), count, 0):
        broken = bytearray(data)
        broken[at] ^= bit
        verdicts.append(_damage_and_read(folder, truth, DATABASE, bytes(broken)))
    reported = verdicts.count("reported")
    assert reported > len(verdicts) / 4
    print(
        f"R4: {len(verdicts)} flipped bits in {DATABASE} ({len(data)} bytes): {reported} reported, "
        f"{len(verdicts) - reported} in unused space, 0 read wrongly, 0 bytes changed by reading"
    )


def test_a_database_cut_off_anywhere(folder: Path) -> None:
    _worked_on(folder)
    truth, data = _everything(folder), (folder / DATABASE).read_bytes()
    sizes = [0, 1, 15, 16, 99, 100, 511, 512, 4095, *range(4096, len(data), 4096)]
    sizes += [len(data) - 1, len(data) - 4096]
    for size in sizes:
        assert _damage_and_read(folder, truth, DATABASE, data[:size]) == "reported"
    assert _damage_and_read(folder, truth, DATABASE, bytes(len(data))) == "reported"
    print(f"R4: {len(sizes) + 1} truncated databases, all reported, 0 read as empty, 0 overwritten")


def test_flipped_bits_and_cuts_in_the_settings(folder: Path) -> None:
    _worked_on(folder)
    truth, data = _everything(folder), (folder / "graydet.toml").read_bytes()
    start = data.index(b"format")
    verdicts = []
    for at in range(start, len(data)):
        for bit in (1, 4, 32, 128):
            broken = bytearray(data)
            broken[at] ^= bit
            if (
                b"images" in broken[start:]
                and bytes(broken).split(b"images", 2)[2][:8] != b' = "."\nd'
            ):
                continue  # another folder's name is not damage that can be known
            verdicts.append(_damage_and_read(folder, truth, "graydet.toml", bytes(broken)))
    for size in range(start, len(data) - 2):
        verdicts.append(_damage_and_read(folder, truth, "graydet.toml", data[:size]))
    print(f"R4: {len(verdicts)} damaged graydet.toml: {verdicts.count('reported')} reported")
    assert verdicts.count("reported") > 0.8 * len(verdicts)


def test_a_damaged_log_of_a_killed_session(folder: Path) -> None:
    """Until a project is closed its log holds the last saves.

    Damage in the very last save cannot be told from a save that was never finished.
    """
    killed = folder.with_name("killed")
    with make_project(folder, 3) as store:
        for i in range(12):
            store.save(1, edited(i), expected_revision=i, source="human", action="edit")
        shutil.copytree(folder, killed)
    kept = {path.name: path.read_bytes() for path in killed.iterdir()}
    log = f"{DATABASE}-wal"
    states = {0: blank()} | {i + 1: edited(i) for i in range(12)}
    reported = 0
    for at, bit in [(0, 0), *_flips(len(kept[log]), 60, 1)]:
        shutil.rmtree(killed)
        killed.mkdir()
        broken = bytearray(kept[log])
        broken[at] ^= bit
        for name, content in {**kept, log: bytes(broken)}.items():
            (killed / name).write_bytes(content)
        least = 12 if not bit else 11
        try:
            ProjectStore.open(killed).close()
        except DamagedProjectError as error:
            assert log in str(error)
            assert (killed / log).read_bytes() == broken
            assert (killed / DATABASE).read_bytes() == kept[DATABASE]
            at_recover = ProjectStore.recover(killed)
            assert Path(f"{at_recover}-wal").read_bytes() == broken
            least = 0
            reported += 1
        with ProjectStore.open(killed) as store:
            record, revision = store.annotation(1, SHAPE)
            assert record == states[revision] and revision >= least
            assert len(store.revisions(1)) == revision
    assert reported > 30
    print(f"R4: 75 flipped bits in the log of a killed session, {reported} reported and recovered")


def test_a_log_that_is_being_written_is_not_damage(folder: Path) -> None:
    with make_project(folder, 1) as store:
        for i in range(40):
            store.save(1, edited(i), expected_revision=i, source="human", action="edit")
            ProjectStore.open(folder).close()


def test_one_damaged_record_does_not_close_the_others(folder: Path) -> None:
    _worked_on(folder)
    with sqlite3.connect(folder / DATABASE) as raw:
        raw.execute(
            "UPDATE images SET record = CAST(replace(record, '2.5', '2.6') AS BLOB) WHERE id = 3"
        )
    with ProjectStore.open(folder) as store:
        with pytest.raises(DamagedProjectError, match=r"image 2\.png"):
            store.annotation(3)
        with pytest.raises(DamagedProjectError, match=r"image 2\.png"):
            store.save(3, edited(), expected_revision=2, source="human", action="edit")
        assert store.annotation(4)[0].state.value == "in work"
        last = store.revisions(3)[-1]
        good = store.record_at(3, last.revision)
        assert good.boxes[0].y0 == 2.5
        assert store.restore(3, last.revision) == 3
        assert store.annotation(3) == (good, 3)
        assert len(store.revisions(3)) == 3


def test_the_backup_is_offered_and_restored(folder: Path) -> None:
    _worked_on(folder)
    (folder / BACKUP).unlink()
    truth = _everything(folder)
    assert (folder / BACKUP).exists()
    damaged = (folder / DATABASE).read_bytes()[:5000]
    (folder / DATABASE).write_bytes(damaged)
    with pytest.raises(DamagedProjectError, match="can be restored") as caught:
        ProjectStore.open(folder)
    assert DATABASE in str(caught.value)
    kept = ProjectStore.recover(folder)
    assert kept.read_bytes() == damaged
    assert _everything(folder) == truth


def test_without_a_sound_backup_nothing_is_touched(folder: Path) -> None:
    _worked_on(folder)
    (folder / DATABASE).write_bytes(b"not a database")
    (folder / BACKUP).write_bytes(b"neither")
    before = _bytes(folder)
    with pytest.raises(ProjectError, match="backup"):
        ProjectStore.recover(folder)
    (folder / BACKUP).unlink()
    with pytest.raises(ProjectError, match="no backup"):
        ProjectStore.recover(folder)
    assert _bytes(folder) == {k: v for k, v in before.items() if k != BACKUP}


def test_a_missing_database_is_not_made_anew(folder: Path) -> None:
    _worked_on(folder)
    (folder / DATABASE).unlink()
    for opening in (ProjectStore.open, ProjectStore.open_or_create):
        with pytest.raises(DamagedProjectError, match=r"missing.*can be restored"):
            opening(folder)
    assert not (folder / DATABASE).exists()
    ProjectStore.recover(folder)
    with ProjectStore.open(folder) as store:
        assert store.classes == list(CLASSES)


def test_an_old_backup_is_not_renewed_from_a_damaged_database(folder: Path) -> None:
    _worked_on(folder)
    (folder / BACKUP).unlink()
    truth = _everything(folder)
    old = time.time() - 2 * safekeeping.BACKUP_AFTER_SECONDS
    os.utime(folder / BACKUP, (old, old))
    sound = (folder / BACKUP).read_bytes()
    data = bytearray((folder / DATABASE).read_bytes())
    data[3 * PAGE : 4 * PAGE] = bytes(PAGE)
    (folder / DATABASE).write_bytes(data)
    with pytest.raises(DamagedProjectError):
        ProjectStore.open(folder)
    assert (folder / BACKUP).read_bytes() == sound
    ProjectStore.recover(folder)
    assert _everything(folder) == truth


def test_the_log_of_a_damaged_database_does_not_stay_beside_the_restored_one(folder: Path) -> None:
    killed = folder.with_name("killed")
    with make_project(folder, 3) as store:
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
        shutil.copytree(folder, killed)
    log = killed / f"{DATABASE}-wal"
    before = log.read_bytes()
    (killed / DATABASE).write_bytes(b"not a database" * 400)
    kept = ProjectStore.recover(killed)
    assert not log.exists() and Path(f"{kept}-wal").read_bytes() == before
    with ProjectStore.open(killed) as store:
        assert len(store.entries()) == 3 and store.entry(1).revision == 0


def test_a_recovery_that_the_disk_does_not_take_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _worked_on(folder)
    damaged = b"not a database" * 400
    (folder / DATABASE).write_bytes(damaged)

    def broken(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(safekeeping.os, "fsync", broken)
        with pytest.raises(ProjectError):
            ProjectStore.recover(folder)
    assert (folder / DATABASE).read_bytes() == damaged
    ProjectStore.recover(folder)


def test_a_log_that_is_being_written_is_looked_at_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_project(folder, 1) as store:
        for i in range(8):
            store.save(1, edited(i), expected_revision=i, source="human", action="edit")
        whole = (folder / f"{DATABASE}-wal").read_bytes()
    torn = bytearray(whole)
    torn[len(whole) // 2] ^= 1
    path = folder.with_name("torn-wal")
    path.write_bytes(torn)
    assert log.lost_saves(path), "a damage that stays"
    monkeypatch.setattr(log.time, "sleep", lambda _seconds: path.write_bytes(whole))
    assert not log.lost_saves(path), "a page that was being written"
