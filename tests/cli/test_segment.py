"""`segment`: files in, masks and records out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.errors import WeightsError
from napari_graydet.models import loading
from tests.cli.runner import run, use_detectors
from tests.workflows.fakes import FakeRois, proposal
from tests.workflows.test_segment import by_numpy

SHAPE = (40, 60)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, (top, dtype) in enumerate([(256, np.uint8), (65536, np.uint16), (256, np.uint8)]):
        pixels = rng.integers(0, top, SHAPE).astype(dtype)
        Image.fromarray(pixels).save(folder / f"image{number}.png")
    return folder


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_masks_and_records_as_the_design_says(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(1.5, 2, 30, 35), proposal(28, 0, 60, 40, "lung")])
    out = tmp_path / "out"
    outcome = run("segment", images, "-o", out)
    assert outcome.code == 0, outcome.err
    assert sorted(p.name for p in out.iterdir()) == [
        *(f"image{n}.{s}" for n in range(3) for s in ("json", "png"))
    ]
    for number in range(3):
        source = images / f"image{number}.png"
        document = json.loads((out / f"image{number}.json").read_text())
        assert document["image"] == source.name
        assert document["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert (document["width"], document["height"]) == (60, 40)
        assert len(document["rois"]) == len(document["boxes"]) == 2
        assert document["classes"] == ["bone", "lung"]
        mask = read(out / f"image{number}.png")
        assert set(np.unique(mask)) == {0, 1, 2}
        assert np.array_equal(mask > 0, by_numpy(document, read(source)))
        lung = {"boxes": [b for b in document["boxes"] if b["label"] == "lung"]}
        assert np.array_equal(mask == 2, by_numpy(lung, read(source)))


def test_by_hand_without_any_model(images: Path, tmp_path: Path) -> None:
    """A region and thresholds are enough: neither torch nor ultralytics is even imported."""
    code = (
        "import sys, napari_graydet.cli as c\n"
        "try: c.app(sys.argv[1:])\n"
        "finally: assert not {'torch', 'ultralytics'} & set(sys.modules)"
    )
    args = ["segment", images / "image1.png", "-o", tmp_path / "out", "--roi", "3,4,33.5,40"]
    args += ["--range", "20000,50000", "--label", "bone", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pixels = read(images / "image1.png")
    expected = np.zeros(SHAPE, np.uint8)
    window = pixels[4:40, 3:33]
    expected[4:40, 3:33] = 255 * ((window >= 20000) & (window <= 50000))
    assert np.array_equal(read(tmp_path / "out" / "image1.png"), expected)
    (item,) = json.loads(done.stdout)["images"]
    assert item["mask_pixels"] == np.count_nonzero(expected)


def test_roi_whole_and_several_rois(images: Path, tmp_path: Path) -> None:
    image = images / "image0.png"
    run("segment", image, "-o", tmp_path / "a", "--roi", "whole", "--range", "100,255")
    assert np.array_equal(read(tmp_path / "a" / "image0.png") > 0, read(image) >= 100)
    run(
        *("segment", image, "-o", tmp_path / "b", "--range", "0,255"),
        *("--roi", "0,0,10,10", "--roi", "20,20,30,30"),
    )
    assert np.count_nonzero(read(tmp_path / "b" / "image0.png")) == 200


def test_json_is_the_whole_of_standard_output(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(0, 0, 30, 30)])
    outcome = run("segment", images, "-o", tmp_path / "out", "--json")
    assert [item["image"] for item in outcome.document["images"]] == [
        "image0.png",
        "image1.png",
        "image2.png",
    ]
    assert outcome.document["failed"] == []
    assert outcome.err == ""


def test_a_bad_image_is_reported_and_the_others_are_done(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(0, 0, 30, 30)])
    (images / "image1.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    outcome = run("segment", images, "-o", tmp_path / "out", "--json")
    assert outcome.code == 2
    assert [f["image"] for f in outcome.document["failed"]] == ["image1.png"]
    assert len(outcome.error_lines) == 1
    assert "image1.png" in outcome.err
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["image0.png", "image2.png"]


def test_without_a_roi_the_whole_image_or_nothing(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [])
    image, out = images / "image0.png", tmp_path / "out"
    outcome = run("segment", image, "-o", out)
    assert outcome.code == 0
    assert "no ROI found" in outcome.err and "Give an ROI." in outcome.err
    document = json.loads((out / "image0.json").read_text())
    roi = document["rois"][0]
    assert [roi[key] for key in ("x0", "y0", "x1", "y1", "score")] == [0, 0, 60, 40, 0]
    run("segment", image, "-o", out, "--if-none", "empty")
    document = json.loads((out / "image0.json").read_text())
    assert (document["rois"], document["boxes"]) == ([], [])
    assert not read(out / "image0.png").any()


def test_cleanup_is_recorded(images: Path, tmp_path: Path) -> None:
    base = ("segment", images / "image0.png", "--roi", "whole", "--range", "0,60")
    run(*base, "-o", tmp_path / "a")
    run(*base, "-o", tmp_path / "b", "--cleanup", "keep_largest=1,fill_holes")
    assert json.loads((tmp_path / "a" / "image0.json").read_text())["cleanup"] is None
    cleanup = json.loads((tmp_path / "b" / "image0.json").read_text())["cleanup"]
    assert cleanup["object"] == {
        "opening": 0,
        "fill_holes": True,
        "keep_largest": 1,
        "min_area": 0,
    }
    kept, everything = (np.count_nonzero(read(tmp_path / x / "image0.png")) for x in "ba")
    assert 0 < kept < everything


@pytest.mark.parametrize(
    "options",
    [
        ("--roi", "1,2,3"),
        ("--roi", "a,b,c,d"),
        ("--roi", "nan,0,9,9"),
        ("--roi", "5,5,5,9"),
        ("--roi", "100,100,200,200"),
        ("--roi", "whole", "--roi", "0,0,9,9"),
        ("--roi", "whole", "--range", "9,3"),
        ("--roi", "whole", "--range", "1.5,3"),
        ("--roi", "whole", "--range", "inf,inf"),
        ("--roi", "whole", "--range", "3"),
        ("--roi", "whole", "--range", "3,9", "--cleanup", "magic"),
        ("--roi", "whole", "--range", "3,9", "--cleanup", "opening=many"),
        ("--roi", "whole", "--min-score", "0.5"),
    ],
)
def test_bad_options_are_one_line(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    use_detectors(monkeypatch, [proposal(0, 0, 30, 30)])
    outcome = run("segment", images / "image0.png", "-o", tmp_path / "out", *options)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert not list((tmp_path / "out").glob("*"))


def bad_inputs(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(1)
    paths = {name: tmp_path / f"{name}.png" for name in ("missing", "empty", "text", "colour")}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("no image at all")
    Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(paths["colour"])
    paths["no_images"] = tmp_path / "folder"
    paths["no_images"].mkdir()
    return paths


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "colour", "no_images"])
def test_bad_input_is_one_line_and_2(tmp_path: Path, kind: str) -> None:
    path = bad_inputs(tmp_path)[kind]
    outcome = run("segment", path, "-o", tmp_path / "out", "--roi", "whole", "--range", "0,9")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert outcome.out == ""


def test_two_inputs_of_one_stem_get_distinct_names(images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "image0.png").write_bytes((images / "image2.png").read_bytes())
    out = tmp_path / "out"
    both = (images / "image0.png", other / "image0.png")
    assert run("segment", *both, "-o", out, "--roi", "whole", "--range", "100,255").code == 0
    assert sorted(p.name for p in out.glob("*.png")) == ["image0_png.png", "image0_png_2.png"]
    assert np.array_equal(read(out / "image0_png_2.png") > 0, read(images / "image2.png") >= 100)


def test_the_same_file_twice_is_done_once(images: Path, tmp_path: Path) -> None:
    image = images / "image0.png"
    outcome = run(
        *("segment", image, images / ".." / "images" / "image0.png", image),
        *("-o", tmp_path / "out", "--roi", "whole", "--range", "1,9", "--json"),
    )
    assert len(outcome.document["images"]) == 1


def test_an_input_is_never_overwritten(images: Path) -> None:
    before = {path: path.read_bytes() for path in images.iterdir()}
    outcome = run("segment", images, "-o", images, "--roi", "whole", "--range", "0,9")
    assert outcome.code == 2
    assert "overwrite" in outcome.err
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_a_mask_made_by_hand_is_never_overwritten(images: Path, tmp_path: Path) -> None:
    by_hand = tmp_path / "masks" / "image0.png"
    by_hand.parent.mkdir()
    Image.new("L", (60, 40), 255).save(by_hand)
    before = by_hand.read_bytes()
    outcome = run("segment", images, "-o", by_hand.parent, "--roi", "whole", "--range", "0,9")
    assert (outcome.code, len(outcome.error_lines)) == (2, 1)
    assert "not as this program wrote it" in outcome.err
    assert by_hand.read_bytes() == before and len(list(by_hand.parent.iterdir())) == 1


def test_foreign_records_and_results_of_other_images_stay(images: Path, tmp_path: Path) -> None:
    """labelme keeps its JSON beside the image; two patients' images may have one name."""
    how = ("--roi", "whole", "--range", "0,9")
    foreign = images / "image0.json"
    foreign.write_text('{"version": "5.0", "shapes": []}')
    before = {path: path.read_bytes() for path in images.iterdir()}
    beside = run("segment", images / "image0.png", "-o", images, *how)
    assert beside.code == 2
    out = tmp_path / "out"
    out.mkdir()
    (out / "image0.json").write_text(foreign.read_text())
    outcome = run("segment", images / "image0.png", "-o", out, *how)
    assert outcome.code == 2 and "no result of this program" in outcome.err
    assert {path: path.read_bytes() for path in images.iterdir()} == before
    (out / "image0.json").unlink()
    assert run("segment", images / "image0.png", "-o", out, *how).code == 0
    assert run("segment", images / "image0.png", "-o", out, *how).code == 0, "once more"
    other = tmp_path / "other" / "image0.png"
    other.parent.mkdir()
    Image.new("L", (60, 40), 7).save(other)
    done = {path: path.read_bytes() for path in out.iterdir()}
    outcome = run("segment", other, "-o", out, *how)
    assert outcome.code == 2 and "another image of that name" in outcome.err
    assert {path: path.read_bytes() for path in out.iterdir()} == done
    touched = np.asarray(Image.open(out / "image0.png")).copy()
    touched[0, 0] ^= 255
    Image.fromarray(touched).save(out / "image0.png")
    assert run("segment", images / "image0.png", "-o", out, *how).code == 2, "somebody's work"


def test_a_clean_up_that_is_out_of_range_is_one_line(images: Path, tmp_path: Path) -> None:
    outcome = run("segment", images, "-o", tmp_path / "out", "--cleanup", "opening=60")
    assert (outcome.code, len(outcome.error_lines)) == (2, 1)
    assert "opening=60" in outcome.err and "50" in outcome.err and "http" not in outcome.err


def test_a_mask_without_room_for_its_record_is_not_left(images: Path, tmp_path: Path) -> None:
    long = images / f"{'x' * 251}.png"  # its .json has a name too long for the disk
    (images / "image0.png").rename(long)
    outcome = run("segment", long, "-o", tmp_path / "out", "--roi", "whole", "--range", "0,9")
    assert outcome.code == 2 and "too long" in outcome.err
    assert list((tmp_path / "out").iterdir()) == []


def test_links_that_lead_nowhere_are_named_and_the_others_are_done(
    images: Path, tmp_path: Path
) -> None:
    (images / "loop.png").symlink_to("loop.png")
    (images / "gone.png").symlink_to("nowhere.png")
    count = len(list(images.glob("image*.png")))
    outcome = run("segment", images, "-o", tmp_path / "out", "--roi", "whole", "--range", "0,9")
    assert outcome.code == 2
    assert [any(name in line for line in outcome.error_lines) for name in ("loop", "gone")]
    assert len(outcome.error_lines) == 2
    assert len(list((tmp_path / "out").glob("*.png"))) == count


def test_results_of_an_earlier_run_are_replaced(images: Path, tmp_path: Path) -> None:
    base = ("segment", images / "image0.png", "-o", tmp_path / "out", "--roi", "whole")
    run(*base, "--range", "0,255")
    assert read(tmp_path / "out" / "image0.png").all()
    run(*base, "--range", "0,9")
    assert not read(tmp_path / "out" / "image0.png").all()
    assert json.loads((tmp_path / "out" / "image0.json").read_text())["boxes"][0]["high"] == 9
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_out_that_is_a_file(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    outcome = run("segment", images, "-o", tmp_path / "out", "--roi", "whole", "--range", "0,9")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert (tmp_path / "out").read_text() == "precious"


def test_bad_weights_are_one_error_not_one_per_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(*_: object) -> object:
        raise WeightsError("roi.safetensors is damaged (SHA-256); install it again.")

    monkeypatch.setattr(loading, "load_roi_detector", refuse)
    outcome = run("segment", images, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.error_lines == [
        "napari-graydet: roi.safetensors is damaged (SHA-256); install it again."
    ]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: launch failed"), MemoryError()])
def test_a_network_that_fails_on_images_is_reported(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    use_detectors(monkeypatch, FakeRois(error))
    outcome = run("segment", images, "-o", tmp_path / "out", "--json")
    assert outcome.code == 2
    assert len(outcome.document["failed"]) == len(outcome.error_lines) == 3
    assert not list((tmp_path / "out").iterdir())


def test_weights_that_are_no_weights(images: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    outcome = run(
        *("segment", images, "-o", tmp_path / "out", "--roi", "whole"),
        *("--box-weights", tmp_path / "bad.safetensors"),
    )
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "bad" in outcome.err


def test_nothing_of_this_machine_is_written(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = FakeRois([proposal(0, 0, 30, 30)], name="/home/canary/best.pt")
    use_detectors(monkeypatch, detector)
    run("segment", images, "-o", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert b"canary" not in content
        assert str(tmp_path).encode() not in content


def test_min_score_and_label_choose_rois(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rois = [proposal(0, 0, 30, 30, "bone", 0.9), proposal(30, 0, 60, 30, "lung", 0.3)]
    use_detectors(monkeypatch, rois)
    base = ("segment", images / "image0.png", "-o", tmp_path / "out", "--json")
    (item,) = run(*base, "--min-score", "0.5").document["images"]
    assert [roi["label"] for roi in item["rois"]] == ["bone"]
    (item,) = run(*base, "--label", "lung").document["images"]
    assert [roi["label"] for roi in item["rois"]] == ["lung"]


def test_a_table_for_people(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_detectors(monkeypatch, [proposal(0, 0, 30, 30)])
    (images / "image0.png").rename(images / "im[bold]age0.png")  # no markup in names
    outcome = run("segment", images, "-o", tmp_path / "out")
    assert "im[bold]age0.png" in outcome.out
    assert "0.75" in outcome.out


@pytest.mark.skipif(sys.platform != "linux", reason="names of arbitrary bytes")
def test_file_names_that_are_no_text(images: Path, tmp_path: Path) -> None:
    odd = images / "h\udcffand.png"
    (images / "image0.png").rename(odd)
    base = ("segment", odd, "--roi", "whole", "--range", "100,255")
    assert run(*base, "-o", tmp_path / "a").code == 0
    outcome = run(*base, "-o", tmp_path / "b", "--json")
    assert outcome.document["images"][0]["image"] == odd.name
    (mask,) = (tmp_path / "a").glob("*.png")
    assert np.array_equal(read(mask) > 0, read(odd) >= 100)
