"""What every network that scores anchors is kept as: network, regressor, anchors, class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.io.weights import Tensors, WeightsCard
from napari_graydet.models.stored import StoredModel, half


@dataclass(frozen=True, eq=False)
class AnchorModel(StoredModel):
    """A network that scores anchors, and what belongs to it.

    Parameters
    ----------
    network
        In inference mode.
    regressor
        Class-specific linear map from range features to box deltas.
    grid
        The anchors.
    classes
        Class names by id.
    """

    weights_kind: ClassVar[Literal["boxes"]] = "boxes"
    in_half: ClassVar[bool] = True
    """Whether the network is kept in half precision."""

    network: nn.Module
    regressor: RidgeRegressor
    grid: AnchorGrid
    classes: tuple[str, ...]

    @property
    def configuration(self) -> dict[str, Any]:
        """The network's sizes and the anchors."""
        sizes: Any = self.network.config
        anchors = {"n": self.grid.n, "scales": list(self.grid.scales)}
        return {"network": asdict(sizes), "anchors": anchors}

    def to_tensors(self) -> Tensors:
        """Return the network's weights and the regressor's."""
        tensors = {
            f"network.{name}": value.detach().cpu().numpy()
            for name, value in self.network.state_dict().items()
        }
        if self.in_half:
            tensors = {name: half(array) for name, array in tensors.items()}
        return {**tensors, "regressor.coef": self.regressor.coef.astype(np.float32)}


def regressor_in(tensors: Tensors, card: WeightsCard, n_classes: int, width: int) -> RidgeRegressor:
    """Return a file's regressor for features of a width; ValueError if it does not fit its card."""
    coef = tensors["regressor.coef"].astype(np.float64)
    expected = (len(card.classes), width + 1, 2)
    if coef.shape != expected or n_classes != len(card.classes):
        raise ValueError(f"regressor of {coef.shape}, expected {expected}")
    return RidgeRegressor(coef)


def grid_in(card: WeightsCard) -> AnchorGrid:
    """Return the anchors that a card describes."""
    described: Any = card.configuration["anchors"]
    anchors: Mapping[str, Any] = described
    return AnchorGrid(int(anchors["n"]), tuple(float(scale) for scale in anchors["scales"]))
