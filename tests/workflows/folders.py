"""Folders of tiny images with masks whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SHAPE = (40, 60)
OBJECT = (slice(10, 30), slice(12, 40))
"""Where the bright object of every picture lies; its box is x 12..40, y 10..30."""


def picture(seed: int = 0) -> npt.NDArray[np.uint8]:
    """A bright object on a dark ground, both noisy."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 60, SHAPE)
    pixels[OBJECT] = rng.integers(150, 200, pixels[OBJECT].shape)
    return pixels.astype(np.uint8)


def truth() -> npt.NDArray[np.bool_]:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[OBJECT] = True
    return mask


def make_folders(root: Path, count: int = 4) -> tuple[Path, Path]:
    """Folders of `count` pictures a0, a1, ... and of their masks."""
    images, masks = root / "images", root / "masks"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        save(images / f"a{number}.png", picture(number))
        save(masks / f"a{number}.png", truth() * np.uint8(255))
    return images, masks


def save(path: Path, values: npt.NDArray[np.generic]) -> None:
    Image.fromarray(values).save(path)
