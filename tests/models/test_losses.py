"""Losses of masks against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_graydet.models.learning.losses import dice_by_class, dice_by_image

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 5, 5))
MASKS = (RNG.random((2, 3, 5, 5)) < 0.4) * 1.0
P = 1 / (1 + np.exp(-LOGITS))


def entropy(p: np.ndarray, masks: np.ndarray) -> float:
    return float(-(masks * np.log(p) + (1 - masks) * np.log(1 - p)).mean())


def dice(p: np.ndarray, masks: np.ndarray) -> float:
    return float((2 * (p * masks).sum() + 1) / (p.sum() + masks.sum() + 1))


def test_dice_by_class_is_what_its_formula_says() -> None:
    soft = [dice(P[:, k], MASKS[:, k]) for k in range(3)]
    loss = dice_by_class(torch.from_numpy(LOGITS), torch.from_numpy(MASKS))
    assert float(loss) == pytest.approx(1 - np.mean(soft) + entropy(P, MASKS))


def test_dice_by_image_is_what_its_formula_says() -> None:
    soft = [dice(P[b, 0], MASKS[b, 0]) for b in range(2)]
    loss = dice_by_image(torch.from_numpy(LOGITS[:, 0]), torch.from_numpy(MASKS[:, 0]))
    assert float(loss) == pytest.approx(1 - np.mean(soft) + entropy(P[:, 0], MASKS[:, 0]))


@pytest.mark.parametrize("loss", [dice_by_class, dice_by_image])
def test_right_masks_cost_nothing_and_empty_ones_have_a_gradient(loss) -> None:  # type: ignore[no-untyped-def]
    target = torch.zeros(1, 1, 8, 8) if loss is dice_by_class else torch.zeros(1, 8, 8)
    logits = torch.zeros_like(target, requires_grad=True)
    loss(logits, target).backward()
    assert logits.grad is not None and (logits.grad > 0).all()
    target[..., 2:6, 2:6] = 1
    right, wrong = (loss((target * 2 - 1) * sign * 20, target) for sign in (1, -1))
    assert float(right) < 0.01 < 1 < float(wrong)
