"""Losses of masks: binary cross entropy plus soft Dice.

Source of the latter: Milletari et al., "V-Net", 3DV 2016.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_SMOOTH = 1
"""Pixels added to both halves of the soft Dice, so that an empty mask has a gradient."""


def dice_by_class(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of (B, K, S, S) logits and shares 0..1: Dice by class, of the whole batch."""
    dice = _soft_dice(logits.sigmoid(), masks, (0, 2, 3))
    return 1 - dice.mean() + functional.binary_cross_entropy_with_logits(logits, masks)


def dice_by_image(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of (B, H, W) logits and shares 0..1: Dice by image."""
    dice = _soft_dice(logits.sigmoid().flatten(1), masks.flatten(1), (1,))
    return functional.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()


def _soft_dice(found: Tensor, wanted: Tensor, over: tuple[int, ...]) -> Tensor:
    """Return the Dice of shares, summed over some dimensions."""
    common = (found * wanted).sum(over)
    return (2 * common + _SMOOTH) / (found.sum(over) + wanted.sum(over) + _SMOOTH)
