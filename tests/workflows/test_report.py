"""Means and tables of a report, each read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_graydet.errors import ExportError
from napari_graydet.workflows.evaluation.report import (
    HEADINGS,
    Report,
    check_ending,
    markdown_table,
    write_report,
)
from napari_graydet.workflows.evaluation.scoring import Row

ROWS = (
    Row("a", "bone", parts=2, rois=2, iou=0.5, ceiling=1.0, iou_over_ceiling=0.5, hd95=4.0,
        roi_ious=(0.9, 0.4), interval_ious=(1.0,), seconds=1.0),
    Row("a", "lung", parts=1, rois=1, iou=1.0, ceiling=1.0, iou_over_ceiling=1.0, hd95=0.0,
        roi_ious=(0.8,), interval_ious=(0.5,), seconds=1.0),
    Row("b", "bone", parts=1, rois=0, iou=0.0, ceiling=0.5, iou_over_ceiling=0.0, hd95=None,
        roi_ious=(0.0,), seconds=3.0),
    Row("b", "lung", parts=0, rois=0, iou=1.0, ceiling=1.0, iou_over_ceiling=1.0, hd95=0.0,
        seconds=3.0),
    Row("c|d", "bone", "c|d is, \"broken\""),
    Row("c|d", "lung", "c|d is, \"broken\""),
)  # fmt: skip
REPORT = Report("method", "f" * 64, "test", False, ROWS, {"bone": 0.25, "lung": 1.0})


def test_means_leave_out_what_is_undefined_and_say_so() -> None:
    bone = REPORT.means("bone")
    assert (bone["iou"].value, bone["iou"].n) == (0.25, 2)
    assert (bone["hd95"].value, bone["hd95"].n) == (4.0, 1)
    assert (bone["explained"].value, bone["explained"].n) == (None, 0)
    assert (REPORT.means()["iou"].value, REPORT.means()["iou"].n) == (0.625, 4)


def test_some_means_are_over_parts_or_of_means() -> None:
    bone, both = REPORT.means("bone"), REPORT.means()
    assert bone["iou_over_ceiling"].value == pytest.approx(0.25 / 0.75)
    assert (bone["roi_iou"].value, bone["roi_iou"].n) == (pytest.approx(1.3 / 3), 3)
    assert (bone["missed"].value, bone["missed"].n) == (pytest.approx(2 / 3), 3)
    assert both["missed"].value == pytest.approx(2 / 4)
    assert (both["interval_iou"].value, both["interval_iou"].n) == (0.75, 2)
    assert (bone["map50"].value, both["map50"].value) == (0.25, 0.625)


def test_what_failed_is_counted() -> None:
    assert (REPORT.images, [row.image for row in REPORT.failed]) == (3, ["c|d"])
    assert "3 images, 1 of them failed" in REPORT.title()
    empty = Report("method", "f", "all", True, ROWS[4:])
    assert empty.means()["iou"].value is None
    assert "–" in empty.markdown()


def test_json(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "deep" / "r.JSON")
    document = json.loads((tmp_path / "deep" / "r.JSON").read_text())
    assert document == json.loads(json.dumps(REPORT.document(), allow_nan=False))
    assert document["labels"]["bone"]["hd95"] == {"mean": 4.0, "n": 1}
    assert document["failed"] == [{"image": "c|d", "error": 'c|d is, "broken"'}]
    assert document["rows"][0]["roi_iou"] == 0.65
    assert (document["method"], document["split"], document["true_rois"]) == (
        "method", "test", False
    )  # fmt: skip


def test_csv(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [(row["image"], row["label"]) for row in rows] == [(r.image, r.label) for r in ROWS]
    assert (rows[0]["iou"], rows[2]["hd95"], rows[2]["missed"]) == ("0.5", "", "1")
    assert rows[4]["error"] == 'c|d is, "broken"'
    assert set(HEADINGS) < set(rows[0])


def test_markdown(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) - 2 for table in tables] == [3, 6]  # two labels and all; the rows
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    order = [line.split(" | ")[0].strip("| ") for line in tables[1][2:]]
    assert order == ["c\\|d", "c\\|d", "b", "a", "a", "b"]  # worst first
    assert "| 0.250 |" in tables[0][2]
    assert REPORT.markdown(rows=False) in text


def test_another_ending(tmp_path: Path) -> None:
    for path in (tmp_path / "r.xlsx", tmp_path / "r"):
        with pytest.raises(ExportError, match=r"\.json, \.csv, \.md"):
            check_ending(path)
        with pytest.raises(ExportError):
            write_report(REPORT, path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_by_hand() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
