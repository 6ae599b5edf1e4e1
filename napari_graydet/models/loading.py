"""From a weights file to a model: one way, and one kind of error, for all of ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import GraydetError, WeightsError
from napari_graydet.io.weights import Tensors, WeightsCard, load_weights

T = TypeVar("T")


def load_model(
    path: Path,
    build: Callable[[Tensors, WeightsCard], T],
    *,
    kind: str,
    architectures: Collection[str],
    what: str,
) -> T:
    """Read weights of a kind and build what they are of.

    Parameters
    ----------
    path
        The safetensors file, with or without its suffix.
    build
        Makes the model; what it raises becomes a `WeightsError`.
    kind, architectures
        What the card must say.
    what
        What that is, for messages.

    Raises
    ------
    WeightsError
        As `load_weights`; or if the card says something else, a number is not finite, or the
        tensors do not make a model.
    """
    tensors, card = load_weights(path)
    if card.kind != kind or card.architecture not in architectures:
        raise WeightsError(
            f"Expected weights of {what} in {path.name}, got {card.kind!r} ({card.architecture}); "
            "choose another file."
        )
    try:
        broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
        if broken:
            raise ValueError(f"{broken[0]} is not finite")
        return build(tensors, card)
    except (LookupError, TypeError, ValueError, RuntimeError, GraydetError) as cause:
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise WeightsError(
            f"The tensors of {path.name} do not fit its card ({reason}); "
            "train again or choose another file."
        ) from cause


def regressor_in(tensors: Tensors, card: WeightsCard, n_classes: int, width: int) -> RidgeRegressor:
    """Return a file's regressor for features of a width; ValueError if it does not fit its card."""
    coef = tensors["regressor.coef"].astype(np.float64)
    expected = (len(card.classes), width + 1, 2)
    if coef.shape != expected or n_classes != len(card.classes):
        raise ValueError(f"regressor of {coef.shape}, expected {expected}")
    return RidgeRegressor(coef)


def grid_of(anchors: Mapping[str, Any]) -> AnchorGrid:
    """Return the anchors that a card describes."""
    return AnchorGrid(int(anchors["n"]), tuple(float(scale) for scale in anchors["scales"]))
