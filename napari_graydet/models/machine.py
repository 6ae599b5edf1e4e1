"""What a training is computed on: with a seed alone nobody gets the same weights again."""

from __future__ import annotations


def machine_note(preference: str) -> dict[str, str | int | bool]:
    """Return what of this machine can change the last digits of weights.

    Parameters
    ----------
    preference
        As for `choose_device`.

    Returns
    -------
    dict
        ``device``, for CUDA ``gpu`` (its name), ``threads``, ``processes``, and whether steps are
        made in ``bfloat16``.

    Raises
    ------
    ModelError
        As `choose_device`.
    """
    import torch

    from napari_graydet.models.device import choose_device, has_bfloat16
    from napari_graydet.models.learning.group import current

    device = choose_device(preference)
    note: dict[str, str | int | bool] = {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": current().size,
        "bfloat16": has_bfloat16(device),
    }
    if device.type == "cuda":
        note["gpu"] = torch.cuda.get_device_name(device)
    return note
