"""Training of the baselines: learns, repeats, keeps its budget, maps back to the image's pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.metrics import dice
from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.models.baselines import training as bt
from napari_graydet.models.baselines.training import Baseline, BaselineTraining, Picture
from napari_graydet.models.boxes.samples import Disturbance
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.loop import Step, Watch

TINY = BaselineTraining(iterations=2, size=32, batch=2)
AS_IT_IS = Disturbance(gamma=0, straightness=np.inf, window=0, noise=0)


@dataclass
class Masked:
    image: GrayImage
    mask: np.ndarray
    label: str = "disk"


def disk(seed: int, shape: tuple[int, int] = (40, 56)) -> Masked:
    """A bright disk on darker noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(shape)
    row, col = rng.uniform(14, 26), rng.uniform(16, 40)
    mask = np.hypot(rows - row, cols - col) < 10
    pixels = rng.integers(0, 90, shape) + 120 * mask
    return Masked(GrayImage(pixels.astype(np.uint8), GrayScale.of_bits(8)), mask)


def disks(count: int) -> list[list[Masked]]:
    return [[disk(seed)] for seed in range(count)]


def test_it_learns_disks() -> None:
    training = BaselineTraining(iterations=30, size=32, batch=4, learning_rate=5e-3)
    model = bt.train_baseline("unet", disks(6), ["disk"], seed=0, training=training)
    unseen = disk(99)
    assert dice(model.segment(unseen.image)["disk"], unseen.mask) > 0.85
    assert (model.steps, model.notes) == (30, ())


def test_same_seed_same_weights() -> None:
    runs = [
        bt.train_baseline("unet", disks(3), ["disk"], seed=seed, training=TINY, device="cpu")
        for seed in (3, 3, 4)
    ]
    first, again, other = (list(run.network.state_dict().values()) for run in runs)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_budget_in_minutes_ends_in_time() -> None:
    told: list[Step] = []
    training = BaselineTraining(minutes=0.4 / 60, size=32, batch=1)
    model = bt.train_baseline(
        "unet", disks(1), ["disk"], seed=0, training=training, watch=Watch(told.append)
    )
    assert [at.step for at in told] == list(range(1, model.steps + 1))
    assert all(at.share < 1 for at in told[:-1])
    assert told[-1].share == 1


def stopping(step: int, folder: Path) -> Watch:
    def stop(at: Step) -> None:
        if at.step == step:
            raise CancelledError("stop")

    return Watch(stop, checkpoints=Checkpoints(folder))


def test_stopped_anywhere_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    """Also within a round through the images, and after the very last step."""
    training = replace(TINY, iterations=4)

    def run(watch: Watch) -> Baseline:
        return bt.train_baseline(
            "unet", disks(3), ["disk"], seed=3, training=training, device="cpu", watch=watch
        )

    whole = run(Watch())
    for step in (1, 3, 4):
        with pytest.raises(CancelledError):
            run(stopping(step, tmp_path))
    pieces = run(Watch(checkpoints=Checkpoints(tmp_path)))
    assert (pieces.steps, whole.steps) == (4, 4)
    assert whole.earlier_seconds == 0 < pieces.earlier_seconds
    a, b = (model.network.state_dict() for model in (whole, pieces))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real, notices = bt.dice_by_class, []

    def loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        if len(logits) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(logits, masks)

    monkeypatch.setattr(bt, "dice_by_class", loss)
    training, watch = replace(TINY, batch=4), Watch(notice=notices.append)
    model = bt.train_baseline("unet", disks(2), ["disk"], seed=0, training=training, watch=watch)
    assert notices == [f"Out of memory: going on with batches of {n}." for n in (2, 1)]
    assert model.notes == ("memory ran out: batches of 1 in the end instead of 4",)


def test_a_loss_that_is_no_number_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bt, "dice_by_class", lambda logits, masks: logits.sum() * float("nan"))
    with pytest.raises(ModelError, match="nan at step 1"):
        bt.train_baseline("unet", disks(1), ["disk"], seed=0, training=TINY)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"iterations": 1, "minutes": 1.0},
        {"iterations": 0},
        {"iterations": 1, "size": 50},
        {"iterations": 1, "size": 16},
    ],
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ModelError):
        BaselineTraining(**settings)  # type: ignore[arg-type]


def test_bad_data() -> None:
    with pytest.raises(ModelError, match="nothing to train"):
        bt.train_baseline("unet", [], ["disk"], seed=0, training=TINY)
    with pytest.raises(ModelError, match="labelled 'disk'"):
        bt.train_baseline("unet", disks(1), ["bone"], seed=0, training=TINY)


class Echo(torch.nn.Module):
    """Says that bright is mask."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures - 0.4) * 50


@pytest.mark.parametrize("shape", [(40, 56), (120, 31), (64, 64), (300, 200)])
def test_masks_lie_where_the_image_has_them(shape: tuple[int, int]) -> None:
    """A network that thresholds gives the disk back: scaling, padding and cropping keep places."""
    sample = disk(5, shape)
    smooth = ndimage.gaussian_filter(np.where(sample.mask, 200.0, 30.0), 1)
    image = GrayImage(smooth.astype(np.uint8), GrayScale.of_bits(8))
    model = Baseline("echo", Echo(), ("disk",), 64, torch.device("cpu"), 0)
    mask = model.segment(image)["disk"]
    assert mask.shape == shape
    centre = [ndimage.center_of_mass(m) for m in (mask, sample.mask)]
    pixel = max(shape) / 64
    assert np.hypot(*np.subtract(*centre)) < 0.25 * pixel + 0.1
    assert dice(mask, sample.mask) > 0.9 - 0.03 * pixel


def test_gray_and_masks_move_together() -> None:
    sample = disk(1)
    clear = GrayImage(np.where(sample.mask, 255, 60).astype(np.uint8), GrayScale.of_bits(8))
    picture = Picture.of([Masked(clear, sample.mask)], ["other", "disk"], 64)
    training = replace(TINY, size=64, gray=AS_IT_IS, iterations=1)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(8):
        gray, masks = bt.augment(picture, training, rng)
        assert gray.shape == (1, 64, 64)
        assert masks.shape == (2, 64, 64)
        assert not masks[0].any()
        overlap = dice((gray[0] > 0.62).numpy(), (masks[1] > 0.5).numpy())
        assert overlap > 0.95
        seen.add(round(ndimage.center_of_mass(masks[1].numpy())[1]))
    assert len(seen) > 3


def test_tone_curves_leave_the_padding_black() -> None:
    picture = Picture.of([disk(2)], ["disk"], 64)
    gray, _ = bt.augment(picture, replace(TINY, size=64, shift=0, turn=0), np.random.default_rng(1))
    assert not gray[0, 60:].any()
