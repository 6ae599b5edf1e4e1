from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.errors import DamagedProjectError
from napari_graydet.project import tables
from napari_graydet.project.schema import Annotation
from tests.project.projects import annotations, blank, edited, painted


@given(annotations())
def test_a_record_comes_back_from_its_bytes(record: Annotation) -> None:
    assert tables.unpack(tables.pack(record)[1], "x") == record


def test_long_residuals_are_compressed() -> None:
    record = painted(20_000)
    packed = tables.pack(record)[1]
    assert len(packed) < len(record.model_dump_json()) / 3
    assert tables.unpack(packed, "x") == record


@pytest.mark.parametrize("change", [{"width": 0}, {"state": "done"}, {"boxes": (None,)}])
def test_a_record_that_would_not_be_read_back_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        tables.pack(blank().model_copy(update=change))


@given(annotations(), st.data())
def test_a_damaged_record_is_an_error_or_the_same(record: Annotation, data: st.DataObject) -> None:
    row = tables.seal(tables.images, {**_ROW, "record": tables.pack(record)[1]})
    broken = bytearray(row["record"])
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedProjectError):
        tables.check_seal(tables.images, {**row, "record": bytes(broken)}, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("column", ["path", "sha256", "width", "height", "state", "revision"])
def test_every_column_is_sealed(column: str) -> None:
    row = tables.seal(tables.images, {**_ROW, "record": tables.pack(edited())[1]})
    tables.check_seal(tables.images, row, "x")  # type: ignore[arg-type]
    with pytest.raises(DamagedProjectError, match="checksum"):
        tables.check_seal(tables.images, {**row, column: "other"}, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("record", [b"", b"{}", b"{", b"x\x9c", b"\x00" * 9, zlib.compress(b"[]")])
def test_what_is_no_record_is_named(record: bytes) -> None:
    with pytest.raises(DamagedProjectError, match="knee"):
        tables.unpack(record, "knee.png")


def test_a_compressed_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_RECORD", 2**20)
    bomb = zlib.compress(b" " * 2**27)
    tracemalloc.start()
    with pytest.raises(DamagedProjectError):
        tables.unpack(bomb, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


_ROW = {
    "path": "a.png",
    "sha256": "0" * 64,
    "width": 60,
    "height": 40,
    "state": "new",
    "revision": 3,
}
