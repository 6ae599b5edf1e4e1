"""A refiner learns what no range can do, and the same from the same seed, interrupted or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.io.weights import read_card
from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.loop import Step, Watch
from napari_graydet.models.pointnet import PointNet, PointNetConfig
from napari_graydet.models.refiner.choice import best_of, compare_refiners
from napari_graydet.models.refiner.learner import continued
from napari_graydet.models.refiner.model import RefinerKind, RefinerModel
from napari_graydet.models.refiner.patch import DEPTH, GRAY, INSIDE, VALID, Frame
from napari_graydet.models.refiner.refiner import Refiner
from napari_graydet.models.refiner.samples import (
    Augmentation,
    Deck,
    draw,
    refiner_samples,
)
from napari_graydet.models.refiner.training import make_refiner, train_refiner
from tests.models.refiners import CLASSES, SMALL, disc, with_box

KINDS: tuple[RefinerKind, ...] = ("unet", "points", "scene")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_unet_beats_the_best_range_where_gray_cannot_tell() -> None:
    training = replace(SMALL, steps=60, batch=6, learning_rate=1e-2)
    images = [disc(seed) for seed in range(8)]
    model = train_refiner(images, CLASSES, seed=0, kind="unet", training=training)
    table = compare_refiners([model], [with_box(disc(seed)) for seed in range(100, 106)])
    assert table["none"] < 0.9
    assert table["unet"] > table["none"] + 0.03


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_training_ends_at_the_same_weights(
    tmp_path: Path, kind: RefinerKind, goes_on: bool
) -> None:
    pictures = [disc(0), disc(1, "lung")]
    start = None
    if goes_on:
        start = train_refiner(pictures, CLASSES, seed=1, kind=kind, training=SMALL)

    def train(on_step: Callable[[Step], None], checkpoints: Path) -> RefinerModel:
        return train_refiner(
            pictures,
            CLASSES,
            seed=5,
            kind=kind,
            training=SMALL,
            start=start,
            watch=Watch(on_step, checkpoints=Checkpoints(checkpoints, seconds=1000)),
        )

    def stop(at: Step) -> None:
        if at.step == 2:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        train(stop, tmp_path / "cut")
    seen: list[int] = []
    second = train(lambda at: seen.append(at.step), tmp_path / "cut")
    whole = train(lambda _at: None, tmp_path / "whole")
    assert seen == [3, 4]
    ours, theirs = (model.networks[kind].state_dict() for model in (whole, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_best_weights_on_the_way_are_kept() -> None:
    scores: list[tuple[float, bool]] = []
    held_out = [with_box(disc(50))]
    model = train_refiner(
        [disc(0), disc(1)],
        CLASSES,
        seed=0,
        training=replace(SMALL, steps=6, validations=3),
        validation=held_out,
        watch=Watch(validated=lambda step, share, found, best: scores.append((found["DSC"], best))),
    )
    assert len(scores) == 3
    assert compare_refiners([model], held_out)["unet"] == max(score for score, _ in scores)


def test_start_of_other_classes_keeps_what_it_knows_by_name() -> None:
    model = train_refiner([disc(0)], CLASSES, seed=0, steps=1, training=SMALL)
    network = continued(model, "unet", ("tooth", "bone"))
    old, new = model.networks["unet"].classes.weight, network.classes.weight  # type: ignore[union-attr]
    assert torch.equal(new[1], old[0])  # type: ignore[index]
    assert torch.allclose(new[0], old.mean(dim=0))  # type: ignore[index,operator]
    later = train_refiner([disc(0, "tooth")], ("tooth",), seed=0, steps=1, start=model)
    assert later.classes == ("tooth",) and later.frame == model.frame
    with pytest.raises(ModelError, match="'points', got unet"):
        continued(model, "points", CLASSES)


@pytest.mark.parametrize("kind", KINDS)
def test_share_of_the_start_stays_in_the_weights(kind: RefinerKind) -> None:
    start = train_refiner([disc(9)], CLASSES, seed=1, kind=kind, training=SMALL)

    def gone_on(counts: float) -> dict[str, torch.Tensor]:
        training, two = replace(SMALL, start_counts=counts), [disc(0), disc(1)]
        model = train_refiner(two, CLASSES, seed=0, kind=kind, training=training, start=start)
        return model.networks[kind].state_dict()

    learned, fifth, old = gone_on(0.0), gone_on(0.5), start.networks[kind].state_dict()
    floats = [name for name, value in old.items() if value.dtype.is_floating_point]
    assert any(not torch.equal(learned[name], old[name]) for name in floats)
    for name in floats:
        torch.testing.assert_close(fifth[name], 0.8 * learned[name] + 0.2 * old[name])


def test_point_head_takes_the_box_detectors_features_and_keeps_them() -> None:
    network = PointNet(PointNetConfig(1, 32, 16)).eval()
    regressor = RidgeRegressor(np.zeros((1, network.config.feature_width + 1, 2)))
    boxes = BoxModel(network, regressor, AnchorGrid(), ("bone",))
    model = train_refiner([disc(0)], CLASSES, seed=0, kind="points", trunk=boxes, training=SMALL)
    head = model.networks["points"]
    kept = head.get_submodule("mlp2").state_dict()
    assert all(torch.equal(kept[k], v) for k, v in network.mlp2.state_dict().items())


def test_bad_trainings_are_refused() -> None:
    with pytest.raises(ModelError, match="nothing to train a refiner on"):
        train_refiner([], CLASSES, seed=0)
    with pytest.raises(ModelError, match="labelled 'tooth'"):
        train_refiner([disc(0, "tooth")], CLASSES, seed=0)
    with pytest.raises(ModelError, match="steps or minutes"):
        train_refiner([disc(0)], CLASSES, seed=0, steps=1, minutes=1)
    with pytest.raises(ModelError, match="multiple of 4"):
        train_refiner([disc(0)], CLASSES, seed=0, training=replace(SMALL, frame=Frame(30)))


def test_budget_in_minutes_ends() -> None:
    seen: list[float] = []
    train_refiner(
        [disc(0)],
        CLASSES,
        seed=0,
        minutes=0.005,
        training=SMALL,
        watch=Watch(step=lambda at: seen.append(at.share)),
    )
    assert seen and max(seen) <= 1


def test_choice_is_in_the_card(tmp_path: Path) -> None:
    out, shares = tmp_path / "refiner.safetensors", list[float]()
    table = make_refiner(
        [disc(0), disc(1)],
        CLASSES,
        out,
        seed=0,
        held_out=[with_box(disc(9))],
        data=["discs: 2 images"],
        training=replace(SMALL, steps=50, validations=2),
        watch=Watch(step=lambda at: shares.append(at.share)),
    )
    assert shares == sorted(shares) and len(shares) == 50 and shares[-1] == 1.0
    card = read_card(out)
    assert card.metrics["chosen"] == best_of(table, card.metrics["held-out images"])
    assert all(card.metrics[f"held-out DSC: {name}"] == value for name, value in table.items())
    assert Refiner.load(out, device="cpu").labels == CLASSES


# --- Drawing --------------------------------------------------------------------------------

STILL = Augmentation(
    gray=replace(Augmentation().gray, jitter=0, gamma=0, straightness=np.inf, window=0, noise=0),
    turn=0,
    bend=0,
    flip=0,
    invert=0,
    no_box=0,
    blur=0,
    shade=0,
)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=10)
def test_box_follows_exposure_and_inversion_exactly(seed: int, invert: bool) -> None:
    (sample,) = refiner_samples([disc(3)], CLASSES, Frame(64)).parts
    exposed = replace(STILL, gray=replace(Augmentation().gray, jitter=0, noise=0), invert=invert)
    plain = draw(sample, Frame(64), STILL, np.random.default_rng(seed))
    other = draw(sample, Frame(64), exposed, np.random.default_rng(seed))
    # Faces are off by chance; the seed is the same, so they are off alike.
    clear = np.abs(plain.channels[DEPTH]) > 0.02
    same = plain.channels[INSIDE] == other.channels[INSIDE]
    saturated = np.abs(other.channels[GRAY]) == 1  # a window can clip grays together
    assert same[clear & ~saturated].mean() > 0.999


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_truth_moves_with_the_gray(seed: int) -> None:
    picture = disc(3)
    bright = replace(
        picture,
        image=replace(picture.image, pixels=(picture.mask * 200).astype(np.uint8)),
    )
    (sample,) = refiner_samples([bright], CLASSES, Frame(64)).parts
    moved = replace(Augmentation(), gray=STILL.gray, invert=0, blur=0, shade=0)
    drawn = draw(sample, Frame(64), moved, np.random.default_rng(seed))
    gray = (drawn.channels[GRAY] + 1) / 2 * 255 / 200
    valid = drawn.channels[VALID] > 0
    assert np.abs(gray - drawn.target)[valid].max() < 0.02


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20)
def test_pictures_are_made_soft_and_uneven_and_their_truth_is_not(seed: int, box: bool) -> None:
    (sample,) = refiner_samples([disc(3)], CLASSES, Frame(64)).parts
    still = replace(STILL, no_box=float(not box))
    uneven = replace(still, blur=1.0, shade=Augmentation().shade)
    plain = draw(sample, Frame(64), still, np.random.default_rng(seed))
    other = draw(sample, Frame(64), uneven, np.random.default_rng(seed))
    assert np.array_equal(plain.target, other.target)
    assert np.abs(other.channels[GRAY]).max() <= 1
    changed = (other.channels[GRAY] - plain.channels[GRAY])[plain.channels[VALID] > 0]
    assert changed.any()
    soft = replace(uneven, shade=0.0)
    alike = draw(sample, Frame(64), soft, np.random.default_rng(seed)).channels[GRAY]
    assert np.array_equal(alike, other.channels[GRAY]) == box, "shade would move grays off the box"


def test_classes_and_groups_are_drawn_evenly() -> None:
    pictures = [disc(0)] * 9 + [replace(disc(1), kind="rare")] + [disc(2, "lung")] * 2
    samples = refiner_samples(pictures, CLASSES, SMALL.frame).parts
    drawn = Deck(samples).draw(4000, np.random.default_rng(0))
    lungs = sum(s.class_id == 1 for s in drawn) / len(drawn)
    rare = sum(s.group == "rare" for s in drawn) / len(drawn)
    assert lungs == pytest.approx(0.5, abs=0.04)
    assert rare == pytest.approx(0.5 / 4, abs=0.03)  # roots: 3 to 1


def test_parts_without_a_true_pixel_are_left_out() -> None:
    empty = replace(disc(0), mask=np.zeros((64, 64), dtype=bool))
    samples = refiner_samples([empty], CLASSES, SMALL.frame)
    assert samples.parts == [] and samples.scenes == []


def test_a_scene_is_the_whole_image_without_a_box() -> None:
    picture = disc(3)
    frame = Frame(scene_size=192)  # three to a pixel
    samples = refiner_samples([picture], CLASSES, frame)
    assert samples.of("scene") is samples.scenes and samples.of("unet") is samples.parts
    (scene,) = samples.scenes
    still = replace(STILL, no_box=1.0, gray=replace(STILL.gray, jitter=0))
    drawn = draw(scene, frame.scene, still, np.random.default_rng(0))
    assert np.array_equal(drawn.target[1::3, 1::3] > 0.5, picture.mask)
    assert drawn.channels[VALID].all() and not drawn.channels[INSIDE].any()
