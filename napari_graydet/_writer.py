"""npe2 writer: a labels layer as mask PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_graydet.io.masks import write_mask


def write_mask_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer as 8-bit PNG: 0/255 if it has one label, else the label ids.

    Parameters
    ----------
    path
        File to write; ``.png`` is added if it has another ending.
    data
        (H, W) integers, 0 is background, at most 255.
    meta
        The layer's options; not needed.

    Returns
    -------
    paths
        The file that was written.

    Raises
    ------
    MaskError
        If the layer is not 2D or has label ids above 255.
    ExportError
        If the file cannot be written.
    """
    target = Path(path)
    if target.suffix.casefold() != ".png":
        target = target.with_name(f"{target.name}.png")
    labels = np.asarray(data)
    one_label = labels.size > 0 and labels.min() >= 0 and labels.max() <= 1
    write_mask(target, labels.astype(np.bool_) if one_label else labels)
    return [str(target)]
