"""What the shipped weights learn from: phantoms by number, and the split."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_graydet.core.sample import Sample
from napari_graydet.errors import ImageError
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td


def _same(a: Sample, b: Sample) -> bool:
    return (
        np.array_equal(a.image.pixels, b.image.pixels)
        and np.array_equal(a.parts, b.parts)
        and (a.image.scale, a.label, a.kind, a.stem) == (b.image.scale, b.label, b.kind, b.stem)
        and a.image.spacing_mm == b.image.spacing_mm
    )


@pytest.mark.parametrize("kind", phantoms.KINDS)
def test_a_phantom_is_the_same_every_time_and_from_the_cache(tmp_path: Path, kind: str) -> None:
    drawn = td.phantom_sample(kind, 0)
    first = next(td.phantom_samples(kind, 1, cache=tmp_path))
    again = next(td.phantom_samples(kind, 1, cache=tmp_path))
    assert _same(drawn, first)
    assert _same(drawn, again)
    assert len(list(tmp_path.rglob("*.npz"))) == 1
    assert drawn.label == ("lung" if kind == "chest" else "bone")
    assert drawn.mask.any() and drawn.rois


def test_the_cache_is_read_and_not_only_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(td.phantom_samples("forearm", 1, cache=tmp_path))
    monkeypatch.delattr(phantoms, "make_phantom")
    next(td.phantom_samples("forearm", 1, cache=tmp_path))
    with pytest.raises(AttributeError):
        next(td.phantom_samples("forearm", 1))


def test_held_out_phantoms_are_others() -> None:
    train = next(td.phantom_samples("forearm", 1))
    held_out = next(td.phantom_samples("forearm", 1, start=td.HELD_OUT_START))
    assert train.stem != held_out.stem
    assert not np.array_equal(train.image.pixels, held_out.image.pixels)
    assert td.HELD_OUT_START >= 1_000_000


def test_the_split_is_fixed_and_covers_all(shared_data: Path) -> None:
    train, held_out, everything = (
        td.montgomery_stems(shared_data, part) for part in ("train", "held out", "all")
    )
    assert (len(train), len(held_out)) == (98, 40)
    assert sorted(train + held_out) == everything
    assert held_out[:3] == HELD_OUT_BEGINS, "the split of the shipped weights must never change"


HELD_OUT_BEGINS = ["MCUCXR_0006_0", "MCUCXR_0011_0", "MCUCXR_0016_0"]


def test_only_montgomery_and_phantoms_are_trained_on(shared_data: Path) -> None:
    samples = list(td.training_samples(shared_data, {"forearm": 1}))
    assert {sample.kind for sample in samples} == {"montgomery", "forearm"}
    held_out = {s.stem for s in td.held_out_samples(shared_data, 1)}
    assert not held_out & {sample.stem for sample in samples}
    assert all(sample.label == "lung" for sample in samples if sample.kind == "montgomery")
    assert not any("CHNCXR" in sample.stem for sample in samples)


def test_a_refiner_is_chosen_on_what_it_never_saw(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(_: Path, stems: list[str], kind: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(stem=stem, kind=kind) for stem in stems]

    monkeypatch.setattr(td, "_chest_samples", unread)
    learned = {s.stem for s in td.refiner_samples(shared_data, {"forearm": 1}, cache=tmp_path)}
    choice = {s.stem for s in td.choice_samples(shared_data, 1, cache=tmp_path)}
    reported = {s.stem for s in td.held_out_samples(shared_data, 1, cache=tmp_path)}
    assert not learned & choice and not choice & reported and not learned & reported
    chest = {stem for stem in learned | choice if stem.startswith(td.MONTGOMERY)}
    assert chest == set(td.montgomery_stems(shared_data, "train"))
    assert len(choice) == 10 + 3


def test_lungs_have_one_roi_each(shared_data: Path) -> None:
    sample = next(td.shenzhen_samples(shared_data))
    assert (sample.kind, sample.label) == ("shenzhen", "lung")
    assert len(sample.rois) == 2


def test_a_folder_without_the_sets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="found none"):
        td.montgomery_stems(tmp_path)


def test_pieces_epiphyses_and_the_carpus_are_put_together() -> None:
    names = ["radius", "radius", "radius distal epiphysis", "lunate", "capitate"]
    names += ["ring finger distal phalanx", "ring finger distal phalanx epiphysis"]
    names += ["fragment", "fragment"]
    parts = np.arange(10, dtype=np.uint16).reshape(2, 5)
    merged = td.merge_parts(parts, names)
    np.testing.assert_array_equal(merged, [[0, 1, 1, 1, 2], [2, 3, 3, 4, 5]])
