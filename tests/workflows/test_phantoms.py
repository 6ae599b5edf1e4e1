"""Phantoms: exact, seeded, stored as asked, and physically plausible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.ndimage import label as connected

from napari_graydet.errors import GraydetError
from napari_graydet.workflows.phantoms import KINDS, Phantom, make_phantom
from napari_graydet.workflows.phantoms.make import separate_parts
from napari_graydet.workflows.phantoms.physics import (
    attenuation,
    broad_blur,
    quantise,
    transmission,
)
from napari_graydet.workflows.phantoms.solids import (
    Blob,
    LongBone,
    Scene,
    capsule,
    trabecular_texture,
    tubes,
)

SIZE = 128


def draw(kind: str, seed: int, **settings_: object) -> Phantom:
    return make_phantom(kind, np.random.default_rng(seed), size=SIZE, **settings_)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_stored_values_and_inversion(kind: str, bits: int) -> None:
    plain = draw(kind, 5, bits=bits)
    inverse = draw(kind, 5, bits=bits, monochrome1=True)
    top = 2**bits - 1
    assert plain.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert max(plain.pixels.shape) == SIZE
    assert plain.pixels.max() <= top
    assert int(plain.pixels.max()) - int(plain.pixels.min()) > top / 3
    np.testing.assert_array_equal(top - plain.pixels.astype(int), inverse.pixels)
    np.testing.assert_array_equal(plain.parts, inverse.parts)
    assert plain.bits == bits and not plain.monochrome1 and inverse.monochrome1


@pytest.mark.parametrize("kind", KINDS)
def test_the_depth_stores_the_same_picture(kind: str) -> None:
    shallow, deep = draw(kind, 8, bits=8), draw(kind, 8, bits=16)
    assert np.abs(shallow.pixels / 255 - deep.pixels / 65535).max() <= 0.5 / 255 + 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bits_and_other_seed_other_picture(kind: str) -> None:
    first, again, other = draw(kind, 1), draw(kind, 1), draw(kind, 2)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.parts, again.parts)
    assert first.part_names == again.part_names
    assert first.pixels.shape != other.pixels.shape or (first.pixels != other.pixels).any()


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_parts_are_named_separate_and_make_up_the_mask(kind: str, seed: int) -> None:
    phantom = draw(kind, seed)
    assert phantom.pixels.shape == phantom.parts.shape == phantom.mask.shape
    assert phantom.parts.dtype == np.uint16
    np.testing.assert_array_equal(phantom.mask, phantom.parts > 0)
    ids = np.unique(phantom.parts[phantom.mask])
    np.testing.assert_array_equal(ids, np.arange(1, len(phantom.part_names) + 1))
    for index in ids:
        assert connected(phantom.parts == index)[1] == 1
    assert phantom.label == ("lung" if kind == "chest" else "bone")
    assert phantom.spacing_mm > 0
    assert 0.01 < phantom.mask.mean() < 0.9


def test_size_is_drawn_when_left_out() -> None:
    rng = np.random.default_rng(0)
    assert 384 <= max(make_phantom("forearm", rng).pixels.shape) <= 1024


@pytest.mark.parametrize(
    ("kind", "extra", "word"),
    [("skull", {}, "skull"), ("hand", {"bits": 10}, "10"), ("hand", {"size": 8}, "64")],
)
def test_bad_requests_are_refused(kind: str, extra: dict[str, int], word: str) -> None:
    with pytest.raises(GraydetError, match=word):
        make_phantom(kind, np.random.default_rng(0), **extra)  # type: ignore[arg-type]


# -- physics ---------------------------------------------------------------------------------


def test_transmission_is_beer_lambert_for_each_energy() -> None:
    soft = np.array([[0.0, 50.0, 100.0]], np.float32)
    bone = np.array([[0.0, 10.0, 0.0]], np.float32)
    none = np.zeros_like(soft)
    light = transmission(soft, bone, none, 60.0)
    table = {27.0: (0.0492, 0.348), 37.2: (0.0309, 0.149)}  # 1/mm, read off the NIST curves
    expected = [
        np.mean([np.exp(-ms * (s - b) - mb * b) for ms, mb in table.values()])
        for s, b in zip(soft[0], bone[0], strict=True)
    ]
    np.testing.assert_allclose(light[0], expected, rtol=0.25)
    assert light[0, 0] == pytest.approx(1.0)


def test_thicker_lets_less_light_through_and_bone_less_than_tissue() -> None:
    soft = np.linspace(0, 200, 50, dtype=np.float32)[None]
    none = np.zeros_like(soft)
    light = transmission(soft, none, none, 70.0)[0]
    assert (np.diff(light) < 0).all()
    bony = transmission(soft, np.minimum(soft, 5), none, 70.0)[0]
    assert (bony[1:] < light[1:]).all()


def test_contrast_of_bone_falls_with_tube_voltage() -> None:
    ratio = [
        attenuation((0.7680, 0.2556, 0.1278, 0.0814, 0.0605, 0.0428, 0.0356), kev)
        / attenuation((0.0872, 0.0402, 0.0286, 0.0240, 0.0217, 0.0193, 0.0179), kev)
        for kev in (25, 40, 60, 90)
    ]
    assert (np.diff(ratio) < 0).all()


def test_bone_is_brighter_than_the_tissue_beside_it() -> None:
    for seed in range(6):
        phantom = draw("hand", seed, bits=16)
        bone, rest = phantom.pixels[phantom.mask], phantom.pixels[~phantom.mask]
        assert np.median(bone) > np.median(rest)


def test_lung_is_darker_than_the_body_around_it() -> None:
    for seed in range(6):
        phantom = draw("chest", seed, bits=16)
        lung = np.median(phantom.pixels[phantom.mask])
        between = phantom.pixels[:, SIZE // 3 : -SIZE // 3][
            ~phantom.mask[:, SIZE // 3 : -SIZE // 3]
        ]
        assert lung < np.median(between)


def test_broad_blur_keeps_the_mean_and_a_constant() -> None:
    image = np.random.default_rng(0).random((101, 67)).astype(np.float32)
    np.testing.assert_allclose(broad_blur(np.full((101, 67), 0.3), 20.0), 0.3, rtol=1e-5)
    assert broad_blur(image, 20.0).mean() == pytest.approx(image.mean(), abs=0.02)
    assert broad_blur(image, 20.0).std() < 0.1 * image.std()


def test_quantise_uses_the_whole_range() -> None:
    gray = np.array([[0.0, 0.5, 1.0]])
    assert quantise(gray, 12, False).tolist() == [[0, 2048, 4095]]
    assert quantise(gray, 12, True).tolist() == [[4095, 2047, 0]]


# -- solids against closed forms --------------------------------------------------------------


def empty_scene(spacing: float = 0.25) -> Scene:
    return Scene((200, 200), spacing, (0.0, 0.0), texture=np.zeros((4, 4), np.float32))


def test_volume_of_an_ellipsoid() -> None:
    scene = empty_scene()
    solid = Blob((0, 0), (12, 8), 5, angle=0.4, cortex=1.0, spongy=0.2)
    where = (slice(0, 200), slice(0, 200))
    outer, mineral = solid.project(scene, where)
    volume = outer.sum() * scene.spacing**2
    assert volume == pytest.approx(4 / 3 * np.pi * 12 * 8 * 5, rel=0.01)
    assert outer.max() == pytest.approx(10, rel=0.01)
    assert (mineral <= outer + 1e-5).all() and (mineral[outer > 0] > 0).all()


def test_chord_of_a_straight_tube_and_of_a_shaft() -> None:
    scene = empty_scene()
    line = np.array([[-40.0, 1.3, 0.0], [40.0, 1.3, 0.0]])
    thick = tubes(scene, [line], 6.0)
    offset = scene.y[:, 100] - 1.3
    chord = 2 * np.sqrt(np.clip(36 - offset**2, 0, None))
    inner = np.abs(offset) < 5
    np.testing.assert_allclose(thick[inner, 100], chord[inner], rtol=0.03)
    bone = LongBone((-60, 1.3), (60, 1.3), (6, 6), (6, 6), depth=(1.0,))
    outer, _ = bone.project(scene, (slice(0, 200), slice(0, 200)))
    np.testing.assert_allclose(outer[:, 100], chord, atol=1e-3)


def test_a_tube_along_the_ray_has_its_longer_path() -> None:
    scene = empty_scene()
    flat = np.array([[-20.0, 0.0, 0.0], [20.0, 0.0, 0.0]])
    steep = flat + np.array([[0, 0, -20.0], [0, 0, 20.0]])
    assert tubes(scene, [steep], 3.0)[100, 100] == pytest.approx(
        np.sqrt(2) * tubes(scene, [flat], 3.0)[100, 100], rel=1e-3
    )


def test_mask_is_the_projection_of_the_bone() -> None:
    scene = empty_scene()
    scene.add_soft(capsule(scene, (-50, 0), (50, 0), 20, 20))
    scene.add_bone(LongBone((-15, 0), (15, 0), (5, 4, 5), (5, 4, 5)), "shaft")
    np.testing.assert_array_equal(scene.parts > 0, scene.bone > 0)
    assert (scene.soft >= scene.bone).all()
    u = np.abs(scene.y[:, 100])
    np.testing.assert_array_equal(scene.parts[:, 100] > 0, u < 4)


def test_mirror_and_turn_move_points_as_they_move_pixels() -> None:
    scene = Scene((120, 90), 0.5, (3.0, -7.0), 0.6, True, np.zeros((2, 2), np.float32))
    points = np.array([[scene.x[r, c], scene.y[r, c]] for r, c in ((0, 0), (37, 80), (119, 5))])
    np.testing.assert_allclose(
        scene.to_pixels(points), [[0.5, 0.5], [80.5, 37.5], [5.5, 119.5]], atol=1e-3
    )


def test_a_growth_plate_parts_a_bone() -> None:
    scene = empty_scene()
    shaft, cap = LongBone((-20, 0), (20, 0), (5, 5), (5, 5)).split(6.0, 2.0)
    scene.add_bone(shaft, "shaft")
    scene.add_bone(cap, "cap")
    assert connected(scene.parts > 0)[1] == 2
    length = (scene.parts == 2).any(0).sum() * scene.spacing
    assert length == pytest.approx(6, abs=0.5)


def test_texture_is_standard_and_periodic() -> None:
    texture = trabecular_texture(np.random.default_rng(0), 64)
    assert texture.mean() == pytest.approx(0, abs=1e-4)
    assert texture.std() == pytest.approx(1, abs=1e-4)
    seam = np.abs(texture[0] - texture[-1]).mean()
    assert seam < 2 * np.abs(np.diff(texture, axis=0)).mean()


def test_hidden_crumbs_go_to_the_part_that_hides_them() -> None:
    parts = np.zeros((20, 30), np.uint16)
    parts[5:15, 2:27] = 1
    parts[:, 20:25] = 2
    tidy, names = separate_parts(parts, ["long", "across", "unseen"])
    assert names == ("long", "across")
    assert set(np.unique(tidy)) == {0, 1, 2}
    np.testing.assert_array_equal(tidy > 0, parts > 0)
    assert (tidy[5:15, 25:27] == 2).all()
    parts[:, 13:16] = 2
    assert separate_parts(parts, ["long", "across"])[1].count("across") == 2


def test_lung_fields_lie_inside_the_body_beside_each_other() -> None:
    phantom = draw("chest", 3)
    right, left = (phantom.parts == 1), (phantom.parts == 2)
    assert phantom.part_names[:2] == ("right lung", "left lung")
    assert np.nonzero(right)[1].mean() < np.nonzero(left)[1].mean()
    assert binary_erosion(right, iterations=3).any()


def test_nothing_is_read_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a phantom opened a file")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    for kind in KINDS:
        draw(kind, 0)
