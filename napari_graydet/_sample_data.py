"""Sample data of the File menu: phantom radiographs, computed, nobody's images."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]

SIZE, SEED = 768, 2022


def hand() -> list[LayerData]:
    """Make a phantom hand with its exact mask."""
    return _sample("hand")


def forearm() -> list[LayerData]:
    """Make a phantom forearm with its exact mask."""
    return _sample("forearm")


def chest() -> list[LayerData]:
    """Make a phantom chest with its exact mask."""
    return _sample("chest")


def _sample(kind: str) -> list[LayerData]:
    import numpy as np

    from napari_graydet.workflows.phantoms import make_phantom

    phantom = make_phantom(kind, np.random.default_rng(SEED), size=SIZE)
    mask = phantom.mask.astype(np.uint8)
    return [
        (phantom.pixels, {"name": f"phantom {kind}"}, "image"),
        (mask, {"name": f"phantom {kind}, {phantom.label} (exact)", "visible": False}, "labels"),
    ]
