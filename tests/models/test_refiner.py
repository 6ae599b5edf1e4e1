"""Refiners: weights files, residuals, the choice among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.metrics import dice
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import GeometryError, ModelError, WeightsError
from napari_graydet.io.weights import WeightsCard, load_weights, read_card, save_weights
from napari_graydet.models.refiner.choice import best_of, choose_refiner, compare_refiners
from napari_graydet.models.refiner.model import RefinerKind, RefinerModel, build
from napari_graydet.models.refiner.patch import CHANNELS, GRAY, VALID, Frame, X, part_in
from napari_graydet.models.refiner.point_head import PointHead, PointHeadConfig, gray_context
from napari_graydet.models.refiner.refiner import Refiner
from napari_graydet.models.refiner.roi_unet import RoiUNet, RoiUNetConfig
from tests.models.refiners import CLASSES, SMALL, disc, probabilities, with_box

ROI = RoiBox(12, 10, 50, 52)


def random_model(kind: str, seed: int = 0) -> RefinerModel:
    torch.manual_seed(seed)
    network = build(kind, len(CLASSES), SMALL.sizes[kind]).eval()  # type: ignore[arg-type,index]
    return RefinerModel({kind: network}, SMALL.frame, CLASSES)  # type: ignore[dict-item]


def constant_model(logit: float) -> RefinerModel:
    """Return a U-Net that says the same of every pixel."""
    model = random_model("unet")
    network = model.networks["unet"]
    assert isinstance(network, RoiUNet)
    torch.nn.init.zeros_(network.logits.weight)
    torch.nn.init.constant_(network.logits.bias, logit)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("kinds", [("unet",), ("points",), ("scene",), ("unet", "points", "scene")])
def test_weights_come_back_as_they_were(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    model = random_model(kinds[0])
    for kind in kinds[1:]:
        model = model.joined(random_model(kind))
    model.with_flips(True).save(tmp_path / "r.safetensors", data=["discs: 3 images"], seed=3)
    refiner = Refiner.load(tmp_path / "r.safetensors", device="cpu")
    assert refiner.labels == CLASSES and refiner.model.flips
    assert refiner.model.kind == model.kind == "+".join(kinds)
    assert read_card(tmp_path / "r.safetensors").sha256[:8] in refiner.name
    image = disc(0).image
    before = probabilities(Refiner(model.with_flips(True), device="cpu"), image, ROI, "lung")
    after = probabilities(refiner, image, ROI, "lung")
    assert np.abs(before - after).max() < 5e-3  # half precision on disk


def test_classes_are_told_apart() -> None:
    refiner = Refiner(random_model("unet"), device="cpu")
    bone, lung = (probabilities(refiner, disc(0).image, ROI, label) for label in CLASSES)
    assert np.abs(bone - lung).max() > 1e-4


@pytest.mark.parametrize("change", ["kind", "tensors", "nan", "classes", "frame"])
def test_other_weights_are_refused_in_one_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "r.safetensors"
    random_model("unet").save(path)
    tensors, card = load_weights(path)
    configuration = dict(card.configuration)
    if change == "tensors":
        tensors.pop("unet.logits.bias")
    if change == "nan":
        tensors["unet.logits.bias"] = np.full(4, np.nan, dtype=np.float16)
    if change == "frame":
        configuration["frame"] = {"size": 33, "margin": 0.1}
    fields = card.model_dump() | {"configuration": configuration}
    if change == "kind":
        fields["kind"] = "boxes"
    if change == "classes":
        fields["classes"] = ["bone"]
    save_weights(path, tensors, WeightsCard(**fields))
    with pytest.raises(WeightsError) as caught:
        RefinerModel.load(path)
    assert "\n" not in str(caught.value) and "r.safetensors" in str(caught.value)


def test_residual_turns_the_boxes_into_the_refined_mask() -> None:
    picture = disc(2)
    case = with_box(picture)
    refiner = Refiner(random_model("unet", 1), device="cpu")
    (mask,) = refiner.masks(picture.image, case.boxes).values()
    base = box_mask(picture.image.pixels, [b.box for b in case.boxes])
    residual = refiner.refine(picture.image, case.boxes)["bone"]
    assert np.array_equal(residual.apply(base), mask)
    cleaned = np.zeros_like(base)
    on_cleaned = refiner.refine(picture.image, case.boxes, {"bone": cleaned})["bone"]
    assert np.array_equal(on_cleaned.apply(cleaned), mask)
    assert not on_cleaned.erased


def test_yes_fills_the_patch_and_no_empties_it() -> None:
    picture = disc(2)
    case = with_box(picture)
    roi = case.boxes[0].box.roi
    window = roi.grow(SMALL.frame.margin, picture.image.shape).slices(picture.image.shape)
    full = Refiner(constant_model(4.0), device="cpu", looks=1).masks(picture.image, case.boxes)[
        "bone"
    ]
    assert full[window].all() and full.sum() == full[window].size
    empty = Refiner(constant_model(-4.0), device="cpu", looks=1).masks(picture.image, case.boxes)[
        "bone"
    ]
    assert not empty.any()


class Brightness(torch.nn.Module):
    """Says yes where the gray is bright, whatever the class."""

    multiple = 1

    def forward(self, patches: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
        return (patches[:, GRAY] > 0).float() * 8 - 4


def test_a_part_that_a_misplaced_roi_cuts_off_is_seen_at_the_second_look() -> None:
    pixels = np.zeros((100, 120), np.uint8)
    pixels[20:70, 30:90] = 255
    image, truth = GrayImage(pixels, GrayScale.of_bits(8)), pixels > 0
    model = RefinerModel({"unet": Brightness()}, Frame(64), CLASSES)
    misplaced = RoiBox(40, 30, 100, 80)
    box = BoxProposal(GrayBox.flat(misplaced, GrayRange(200, 255)), "bone", 0.9)
    once, twice = (
        dice(Refiner(model, device="cpu", looks=n).masks(image, [box])["bone"], truth)
        for n in (1, 2)
    )
    assert once < 0.97 < twice
    part = part_in(torch.ones(1, 64, 64), misplaced, model.frame, image.shape)
    assert part is not None and part.x0 < misplaced.x0 and part.x1 > misplaced.x1
    assert part_in(-torch.ones(1, 64, 64), misplaced, model.frame, image.shape) is None


class BrightOnTheLeft(Brightness):
    """Says so of bright pixels in the left half, and is sure of it."""

    def forward(self, patches: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
        left = torch.arange(patches.shape[-1]) < patches.shape[-1] / 2
        return ((patches[:, GRAY] > 0) & left).float() * 16 - 8


def test_where_to_look_again_is_not_decided_by_the_patch_alone() -> None:
    pixels = np.zeros((100, 120), np.uint8)
    pixels[20:80, 35:55] = 255  # the part
    pixels[20:80, 62:90] = 255  # another one beside it, of which the ROI has more
    image, truth = GrayImage(pixels, GrayScale.of_bits(8)), pixels > 0
    truth[:, 60:] = False
    box = BoxProposal(GrayBox.flat(RoiBox(44, 18, 92, 82), GrayRange(200, 255)), "bone", 0.9)
    networks: dict[RefinerKind, torch.nn.Module] = {
        "unet": Brightness(),
        "scene": BrightOnTheLeft(),
    }
    refiner = Refiner(RefinerModel(networks, Frame(64), CLASSES), device="cpu")
    assert dice(refiner.masks(image, [box])["bone"], truth) > 0.97


def test_a_second_look_leaves_to_other_rois_what_is_theirs() -> None:
    model = RefinerModel({"unet": Brightness()}, Frame(64), CLASSES)
    patch, roi, shape = torch.ones(1, 64, 64), RoiBox(40, 30, 100, 80), (100, 120)
    neighbour = RoiBox(90, 20, 118, 95)  # has a strip of the ROI as well, which stays the ROI's
    part = part_in(patch, roi, model.frame, shape, [neighbour])
    assert part is not None and part.x0 < roi.x0 and part.y1 > roi.y1
    assert part.x1 < roi.x1 + 4, "grown by a margin, but not into the neighbour"
    free = part_in(patch, roi, model.frame, shape)
    assert free is not None and free.x1 > roi.x1 + 4


def test_two_parts_that_touch_do_not_become_one_at_the_next_look() -> None:
    pixels = np.zeros((100, 120), np.uint8)
    pixels[20:80, 20:100] = 255  # two bones, side by side
    image = GrayImage(pixels, GrayScale.of_bits(8))
    looked: list[RoiBox] = []

    class Watched(Refiner):
        def _on_patch(self, image: GrayImage, roi: RoiBox, *rest: Any) -> torch.Tensor | None:
            looked.append(roi)
            return super()._on_patch(image, roi, *rest)

    rois = (RoiBox(20, 20, 60, 80), RoiBox(60, 20, 100, 80))
    both = [BoxProposal(GrayBox.flat(r, GrayRange(200, 255)), "bone", 0.9) for r in rois]
    refiner = Watched(RefinerModel({"unet": Brightness()}, Frame(64), CLASSES), device="cpu")
    refiner.masks(image, both)
    assert max(roi.width for roi in looked) < 46
    looked.clear()
    refiner.masks(image, both[:1])
    assert max(roi.width for roi in looked) > 50, "what is nobody's is gone after"


def test_a_roi_that_is_far_off_is_followed_over_several_looks() -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[20:70, 30:130] = 255
    image, truth = GrayImage(pixels, GrayScale.of_bits(8)), pixels > 0
    model = RefinerModel({"unet": Brightness()}, Frame(64), CLASSES)
    box = BoxProposal(GrayBox.flat(RoiBox(90, 20, 190, 70), GrayRange(200, 255)), "bone", 0.9)
    scores = [
        dice(refiner.masks(image, [box])["bone"], truth)
        for refiner in (Refiner(model, device="cpu", looks=2), Refiner(model, device="cpu"))
    ]
    assert scores[0] < 0.9 < 0.95 < scores[1]


def test_an_roi_that_a_person_has_drawn_lies_where_it_is_meant_to() -> None:
    pixels = np.zeros((100, 120), np.uint8)
    pixels[20:80, 20:100] = 255
    pixels[85:95, 20:30] = 255  # a small part that the person wants, too
    image = GrayImage(pixels, GrayScale.of_bits(8))
    model = RefinerModel({"unet": Brightness()}, Frame(64), CLASSES)
    roi = RoiBox(20, 20, 60, 96)
    drawn = BoxProposal(GrayBox.flat(roi, GrayRange(200, 255)), "bone", 0.9, drawn=True)
    once = Refiner(model, device="cpu", looks=1).masks(image, [drawn])["bone"]
    found = Refiner(model, device="cpu").masks(image, [drawn])["bone"]
    np.testing.assert_array_equal(found, once)
    assert found[86:94, 21:29].all()
    detected = Refiner(model, device="cpu").masks(image, [replace(drawn, drawn=False)])["bone"]
    assert (detected != once).any()


def test_boxes_of_unknown_labels_are_left_alone() -> None:
    box = BoxProposal(GrayBox.flat(ROI, GrayRange(10, 200)), "tooth", 0.5)
    refiner = Refiner(random_model("unet"), device="cpu")
    assert refiner.refine(disc(0).image, [box]) == {}


def test_roi_outside_of_the_image_is_refused() -> None:
    refiner = Refiner(random_model("unet"), device="cpu")
    outside = GrayBox.flat(RoiBox(100, 100, 120, 120), GrayRange(10, 200))
    with pytest.raises(GeometryError, match="covers no pixel"):
        refiner.masks(disc(0).image, [BoxProposal(outside, "bone", 0.5)])


def test_mirrored_looks_are_turned_back() -> None:
    """A network that looks at grays alone says the same of both: so does their mean."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, :20] = 255
    image, roi = GrayImage(pixels, GrayScale.of_bits(8)), RoiBox(8, 8, 56, 56)
    model = RefinerModel({"unet": Brightness()}, Frame(64), CLASSES)
    once, both = (
        probabilities(Refiner(m, device="cpu"), image, roi, "bone")
        for m in (model, model.with_flips(True))
    )
    np.testing.assert_allclose(both, once, atol=1e-5)
    assert once.min() < 0.1 and once.max() > 0.9


def test_mirrored_images_give_mirrored_answers_with_flips() -> None:
    for kind in ("unet", "points"):
        refiner = Refiner(random_model(kind).with_flips(True), device="cpu")
        picture = disc(4)
        mirrored = type(picture.image)(picture.image.pixels[:, ::-1], picture.image.scale)
        roi = RoiBox(12, 12, 44, 44)
        there = probabilities(refiner, picture.image, roi, "bone").reshape(32, 32)
        back = probabilities(refiner, mirrored, RoiBox(20, 12, 52, 44), "bone").reshape(32, 32)
        # Coordinates are not mirrored, so only what the two looks average to is the same.
        assert np.abs(there - back[:, ::-1]).max() < 0.2


def test_no_refiner_is_chosen_where_none_beats_the_boxes() -> None:
    cases = [with_box(disc(seed)) for seed in range(3)]
    worse = constant_model(-4.0)
    chosen, table = choose_refiner([worse], cases)
    assert chosen is None and table["unet"] == 0.0 < table["none"]
    expected = np.mean([dice(box_mask(c.image.pixels, [c.boxes[0].box]), c.mask) for c in cases])
    assert table["none"] == pytest.approx(expected, abs=1e-4)


def test_figures_of_the_choice_are_those_of_the_refiner() -> None:
    cases = [with_box(disc(seed)) for seed in range(3)]
    models = [random_model(kind, 1) for kind in ("unet", "points", "scene")]
    table = compare_refiners(models, cases)
    assert next(iter(table)) == "none" and len(table) == 1 + 2 * 7
    unet, points, scene = models
    candidates = {
        "points": points,
        "scene": scene,
        "unet+points + flips": unet.joined(points).with_flips(True),
        "points+scene": points.joined(scene),
        "unet+points+scene + flips": unet.joined(points).joined(scene).with_flips(True),
    }
    for name, model in candidates.items():
        refiner = Refiner(model, device="cpu", looks=1)
        scores = [dice(refiner.masks(c.image, c.boxes)[c.label], c.mask) for c in cases]
        assert table[name] == pytest.approx(np.mean(scores), abs=1e-4)
    chosen, _ = choose_refiner(models, cases)
    assert (chosen is None) == (best_of(table, len(cases)) == "none")


def test_few_images_do_not_decide_by_a_hair() -> None:
    both = "unet+scene + flips"

    def better_by(difference: float) -> dict[str, float]:
        return {"none": 0.9, "scene": 0.97 + difference, both: 0.97}

    for images, chance in ((1, 0.01), (4, 0.005), (25, 0.002), (400, 0.002)):
        assert best_of(better_by(chance - 0.0005), images) == both
        assert best_of(better_by(chance + 0.0005), images) == "scene"
    assert best_of({"none": 0.971, "unet": 0.96, both: 0.97}, 1) == "none"
    assert best_of({"none": 0.975, "unet": 0.976, both: 0.967}, 1) == "unet", (
        "never worse than none"
    )
    assert best_of({"none": 0.9, "unet": 0.95, "points": 0.95}, 1) == "unet"


def test_what_is_not_used_is_kept_for_later_trainings(tmp_path: Path) -> None:
    parts = [random_model(kind, 1) for kind in ("unet", "points", "scene")]
    model = replace(parts[0].joined(parts[1]).joined(parts[2]), chosen=("unet",))
    model.save(tmp_path / "r.safetensors", data=["discs: 3 images"], seed=3)
    again = RefinerModel.load(tmp_path / "r.safetensors")
    assert tuple(again.networks) == ("unet", "points", "scene")
    assert again.used == ("unet",) and again.kind == "unet" and again.on_scene is None
    image = disc(0).image
    alone, kept = (
        probabilities(Refiner(m, device="cpu"), image, ROI, "lung") for m in (parts[0], again)
    )
    assert np.abs(alone - kept).max() < 5e-3
    assert compare_refiners([again], [with_box(disc(1))]).keys() >= {"scene", "unet+scene"}


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ModelError, match="held-out images"):
        choose_refiner([random_model("unet")], [])
    with pytest.raises(ModelError, match="at least one"):
        compare_refiners([], [with_box(disc(0))])
    other = RefinerModel(random_model("points").networks, Frame(64), CLASSES)
    with pytest.raises(ModelError, match="share patches"):
        random_model("unet").joined(other)


def test_images_without_a_box_keep_their_empty_mask() -> None:
    case = with_box(disc(0))
    bare = type(case)(case.image, (), case.label, case.mask)
    table = compare_refiners([random_model("unet")], [bare])
    assert set(table.values()) == {0.0}


def test_networks_take_any_fitting_patch() -> None:
    ids = torch.tensor([0, 1])
    unet = RoiUNet(RoiUNetConfig(2, (8, 16))).eval()
    points = PointHead(PointHeadConfig(2, 32, 16, 16)).eval()
    for network, size in ((unet, 20), (points, 64)):
        assert network(torch.zeros(2, CHANNELS, size, size), ids).shape == (2, size, size)


def test_a_unet_is_blind_to_coordinates_and_older_weights_are_not(tmp_path: Path) -> None:
    ids = torch.tensor([0, 1])
    patches = torch.randn(2, CHANNELS, 20, 20)
    moved = patches.clone()
    moved[:, X:] += 0.5
    blind, told = (RoiUNet(RoiUNetConfig(2, (8, 16), coordinates=c)).eval() for c in (False, True))
    assert torch.equal(blind(patches, ids), blind(moved, ids))
    assert not torch.equal(told(patches, ids), told(moved, ids))

    path = tmp_path / "old.safetensors"
    RefinerModel({"unet": told}, Frame(32), CLASSES).save(path)
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace(',\n        "coordinates": true', ""))
    assert "coordinates" not in card.read_text(), "as cards were before"
    again = RefinerModel.load(path).networks["unet"]
    assert torch.allclose(again(patches, ids), told(patches, ids), atol=0.02), "half precision"


def test_gray_context_ignores_what_lies_outside_of_the_image() -> None:
    patch = torch.zeros(1, CHANNELS, 32, 32)
    patch[:, VALID, :, 16:] = 1
    patch[:, :2, :, 16:] = 0.5  # outside, gray is 0
    smooth = gray_context(patch)[:, :-1, :, 16:]
    assert torch.allclose(smooth, torch.full_like(smooth, 0.5), atol=1e-4)


def test_an_image_is_looked_at_as_a_whole_once() -> None:
    scene, asked, roi = Brightness(), list[int](), RoiBox(5, 5, 40, 40)
    scene.register_forward_hook(lambda *_: asked.append(1))
    refiner = Refiner(RefinerModel({"scene": scene}, Frame(64), CLASSES), device="cpu")
    dark, bright = (
        GrayImage(np.full((50, 60), gray, dtype=np.uint8), GrayScale.of_bits(8))
        for gray in (0, 255)
    )
    for _ in range(2):
        assert probabilities(refiner, bright, roi, "lung").min() > 0.5
        assert refiner.missed(bright, [RoiProposal(RoiBox.of_image((50, 60)), "lung", 1.0)]) == []
    assert len(asked) == 1, "whatever is asked for"
    assert probabilities(refiner, dark, roi, "lung").max() < 0.5
    probabilities(refiner, bright, roi, "bone")
    assert len(asked) == 3, "another image and another class are looked at anew"


def test_what_only_the_scene_shows_becomes_an_roi() -> None:
    model = RefinerModel({"scene": Brightness()}, Frame(64), CLASSES)
    refiner = Refiner(model, device="cpu")
    pixels = np.zeros((100, 100), dtype=np.uint8)
    pixels[20:80, 10:40] = pixels[20:80, 60:90] = 255
    image = GrayImage(pixels, GrayScale.of_bits(8))
    left = RoiProposal(RoiBox(10, 20, 40, 80), "lung", 0.9)
    (found,) = refiner.missed(image, [left])
    assert found.label == "lung" and found.roi.iou(RoiBox(60, 20, 90, 80)) > 0.8
    assert 0.8 < found.score <= 1
    assert refiner.missed(image, [left, found]) == []
    doubtful = replace(left, score=0.3)
    assert refiner.missed(image, [doubtful]) == []
    both = {"unet": constant_model(-4.0).networks["unet"], "scene": Brightness()}
    unconfirmed = Refiner(RefinerModel(both, Frame(64), CLASSES), device="cpu")
    assert unconfirmed.missed(image, [left]) == [], "what its own patch does not show is no part"
    fits, elsewhere = (RoiProposal(RoiBox(x, 25, x + 25, 70), "lung", 0.2) for x in (62, 30))
    assert unconfirmed.missed(image, [left], [elsewhere]) == []
    assert unconfirmed.missed(image, [left], [elsewhere, fits]) == [fits], "two see the same"
    other = replace(fits, label="bone")
    assert unconfirmed.missed(image, [left], [other]) == [], "of another class"
    assert refiner.missed(image, []) == [], "which of two classes it is, nobody has said"
    assert Refiner(random_model("unet"), device="cpu").missed(image, [left]) == []
