"""`init`, `predict`, `export`, `render` on one project, and their errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.project.schema import State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.project_images import read_entry
from tests.cli.runner import run, use_detectors
from tests.workflows.fakes import proposal
from tests.workflows.projects import fill, make_project


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (40, 60)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"image{number}.png")
    return folder


def test_the_whole_line(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_detectors(monkeypatch, [proposal(1.5, 2, 30, 35)])
    project, out = tmp_path / "study", tmp_path / "out"
    made = run("init", project, "--images", images, "--classes", "bone,lung", "--json")
    assert made.document == {"project": str(project), "classes": ["bone", "lung"], "images": 3}
    predicted = run("predict", project, "--json").document
    assert (len(predicted["predicted"]), predicted["untouched"]) == (3, 0)
    with ProjectStore.open(project) as store:
        for entry in list(store.entries())[:2]:
            record, revision = store.annotation(entry.id)
            accepted = record.model_copy(update={"state": State.ACCEPTED})
            store.save(
                entry.id, accepted, expected_revision=revision, source="human", action="accept"
            )
            masks = [record.mask(read_entry(store, entry).pixels, "bone")]
    again = run("predict", project, "--json").document
    assert (len(again["predicted"]), again["untouched"]) == (1, 2)
    exported = run("export", project, "-o", out, "--json")
    assert exported.document["images"] == 2
    assert exported.document["formats"] == ["masks", "yolo", "json"]
    rendered = run("render", project, "-o", tmp_path / "rendered", "--json").document
    assert len(rendered["masks"]) == 3
    assert rendered["masks"][0]["labels"]["bone"]["explained"] == 1.0
    for name in ("image0.png", "image1.png"):
        mask = np.asarray(Image.open(out / "masks" / name))
        assert np.array_equal(mask, np.asarray(Image.open(tmp_path / "rendered" / name)))
    assert np.array_equal(mask == 1, masks[-1])


@pytest.mark.parametrize("given", ["images", "./images", "../{}/images"])
def test_init_of_a_relative_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = run("init", "study", "--images", given.format(tmp_path.name))
    assert made.code == 0, made.err
    with ProjectStore.open(tmp_path / "study") as store:
        assert [entry.path for entry in store.entries()] == [f"image{n}.png" for n in range(3)]
        assert all(store.image_path(entry.id).is_file() for entry in store.entries())


def test_init_with_patients(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "who.csv"
    table.write_text("image0,ann\nimage1,ann\nimage2,bob\n")
    made = run("init", tmp_path / "study", "--images", images, "--patients", table, "--json")
    assert made.document["patients"] == 2
    with ProjectStore.open(tmp_path / "study") as store:
        assert [entry.patient for entry in store.entries()] == ["ann", "ann", "bob"]
    text = run("init", tmp_path / "one", "--images", images, "--patients", "^(image)")
    assert "3 images of 1 patient," in text.out
    for rule in ("(", "^(image0)", "nowhere.csv"):
        bad = run("init", tmp_path / "bad", "--images", images, "--patients", rule)
        assert (bad.code, len(bad.error_lines)) == (2, 1)
        assert not (tmp_path / "bad").exists()


def test_a_name_that_no_database_can_keep(images: Path, tmp_path: Path) -> None:
    source = (images / "image0.png").read_bytes()
    try:
        (Path(os.fsdecode(os.fsencode(images) + b"/bad\xff.png"))).write_bytes(source)
    except OSError:
        pytest.skip("this disk takes UTF-8 only")
    outcome = run("init", tmp_path / "study", "--images", images)
    assert (outcome.code, len(outcome.error_lines)) == (2, 1)
    assert "not UTF-8" in outcome.err and not (tmp_path / "study").exists()


def test_a_damaged_project_is_recovered_as_the_error_says(images: Path, tmp_path: Path) -> None:
    project = tmp_path / "study"
    assert run("init", project, "--images", images).code == 0
    assert run("render", project, "-o", tmp_path / "out").out.startswith("No image has")
    (project / "annotations.db").write_bytes(b"not a database, for sure" * 99)
    broken = run("predict", project)
    assert broken.code == 2 and f"napari-graydet recover {project}" in broken.err
    assert run("recover", project, "--json").document["images"] == 3
    assert run("recover", project).code == 2, "there is nothing to recover"


def test_render_never_overwrites_an_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(1.5, 2, 30, 35)])
    before = {path: path.read_bytes() for path in images.iterdir()}
    run("segment", images / "image0.png", "-o", tmp_path / "out", "--roi", "whole")
    run("init", tmp_path / "study", "--images", images)
    run("predict", tmp_path / "study")
    for source, more in ((tmp_path / "out" / "image0.json", images), (tmp_path / "study", None)):
        options = () if more is None else ("--images", more)
        outcome = run("render", source, "-o", images, *options)
        assert (outcome.code, len(outcome.error_lines)) == (2, 1)
        assert "overwrite the image" in outcome.err
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_render_replaces_its_own_masks_and_no_others(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(1.5, 2, 30, 35)])
    run("segment", images / "image0.png", "-o", tmp_path / "out", "--roi", "whole")
    run("init", tmp_path / "study", "--images", images)
    run("predict", tmp_path / "study")
    masks = tmp_path / "masks"
    record = tmp_path / "out" / "image0.json"
    for source, more in ((record, ("--images", images)), (tmp_path / "study", ())):
        assert run("render", source, "-o", masks, *more).code == 0
        assert run("render", source, "-o", masks, *more).code == 0
    Image.new("L", (60, 40), 255).save(masks / "image0.png")
    before = {path: path.read_bytes() for path in masks.iterdir()}
    for source, more in ((record, ("--images", images)), (tmp_path / "study", ())):
        outcome = run("render", source, "-o", masks, *more)
        assert (outcome.code, len(outcome.error_lines)) == (2, 1)
        assert "image0.png is there already" in outcome.err
    assert {path: path.read_bytes() for path in masks.iterdir()} == before


def test_models_of_what_is_no_project(images: Path) -> None:
    outcome = run("models", "list", images)
    assert outcome.code == 2 and "no project" in outcome.err


def test_init_in_the_folder_of_the_images(images: Path) -> None:
    outcome = run("init", images)
    assert outcome.code == 0
    assert "3 images" in outcome.out
    again = run("init", images)
    assert again.code == 2
    assert "project already" in again.err


@pytest.mark.parametrize(
    "options",
    [
        ("--classes", ""),
        ("--classes", "bone,bone"),
        ("--images", "nowhere"),
    ],
)
def test_bad_init(images: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    outcome = run("init", tmp_path / "study", "--images", images, *options)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert not (tmp_path / "study").exists()


def test_init_of_a_folder_without_images(tmp_path: Path) -> None:
    outcome = run("init", tmp_path)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["predict", "export", "render"])
@pytest.mark.parametrize("kind", ["missing", "plain", "damaged", "newer"])
def test_projects_that_cannot_be_opened(tmp_path: Path, verb: str, kind: str) -> None:
    folder = tmp_path / "study"
    if kind != "missing":
        folder.mkdir()
    if kind == "damaged":
        (folder / "graydet.toml").write_text("}{")
    if kind == "newer":
        make_project(folder / "x").close()
        text = (folder / "x" / "graydet.toml").read_text().replace("format = 1", "format = 99")
        (folder / "graydet.toml").write_text(text)
    out = () if verb == "predict" else ("-o", tmp_path / "out")
    outcome = run(verb, folder, *out)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert not (tmp_path / "out").exists()


def test_predict_names_the_bad_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(1.5, 2, 30, 35)])
    run("init", images)
    (images / "image1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    outcome = run("predict", images, "--json")
    assert outcome.code == 2
    assert [f["image"] for f in outcome.document["failed"]] == ["image1.png"]
    assert len(outcome.document["predicted"]) == 2
    assert len(outcome.error_lines) == 1


def test_export_of_one_format_and_a_refused_folder(tmp_path: Path) -> None:
    store = make_project(tmp_path / "study")
    fill(store)
    store.close()
    outcome = run("export", tmp_path / "study", "-o", tmp_path / "out", "--format", "masks")
    assert outcome.code == 0
    assert "3 accepted images (1 with nothing in them)" in outcome.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "graydet-export.json",
        "masks",
    ]
    refused = run("export", tmp_path / "study", "-o", tmp_path / "study")
    assert refused.code == 2
    assert len(refused.error_lines) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_export_into_a_read_only_folder(tmp_path: Path) -> None:
    store = make_project(tmp_path / "study")
    fill(store)
    store.close()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    outcome = run("export", tmp_path / "study", "-o", locked / "out")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1


def test_export_where_no_folder_can_be(tmp_path: Path) -> None:
    store = make_project(tmp_path / "study")
    fill(store)
    store.close()
    (tmp_path / "file").write_text("x")
    outcome = run("export", tmp_path / "study", "-o", tmp_path / "file" / "out")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1


def test_render_a_record_of_segment(images: Path, tmp_path: Path) -> None:
    image, out = images / "image0.png", tmp_path / "out"
    run("segment", image, "-o", out, "--roi", "2,2,50,30", "--range", "30,200")
    outcome = run("render", out / "image0.json", "-o", tmp_path / "again", "--images", images)
    assert outcome.code == 0, outcome.err
    assert "100.0%" in outcome.out
    first, second = (tmp_path / x / "image0.png" for x in ("out", "again"))
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(second)))
    # beside the record lies the mask of the same name, which is another file than the image
    wrong = run("render", out / "image0.json", "-o", tmp_path / "wrong")
    assert wrong.code == 2
    assert "SHA-256" in wrong.err


def test_render_says_what_was_painted(images: Path, tmp_path: Path) -> None:
    run("segment", images / "image0.png", "-o", tmp_path, "--roi", "0,0,5,5", "--range", "0,255")
    document = json.loads((tmp_path / "image0.json").read_text())
    document["residual"] = {"object": {"added": [[600, 25]], "erased": []}}
    (tmp_path / "image0.json").write_text(json.dumps(document))
    outcome = run(
        *("render", tmp_path / "image0.json", "-o", tmp_path / "r", "--images", images, "--json")
    )
    share = outcome.document["masks"][0]["labels"]["object"]
    assert share == {"pixels": 50, "explained": 0.5, "added": 25, "erased": 0}
