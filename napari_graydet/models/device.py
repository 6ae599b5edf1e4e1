"""Where networks run: cuda, mps or cpu; and the way back to the CPU when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from napari_graydet.errors import ModelError

PREFERENCES = ("auto", "cuda", "mps", "cpu")

Notice = Callable[[str], None]
"""Takes one line for the user."""

T = TypeVar("T")


def choose_device(preference: str = "auto", *, float64: bool = False) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    preference
        One of `PREFERENCES`; "auto" takes the first that the machine has of cuda, mps and cpu.
    float64
        Whether numbers of 64 bit are needed. MPS has none: the CPU computes what was meant for it.

    Raises
    ------
    ModelError
        If the preference is unknown, or names a device that this machine does not have.
    """
    has = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if preference == "auto":
        return _with_digits(next(name for name, there in has.items() if there), float64)
    if preference not in has:
        raise ModelError(f"Expected a device among {', '.join(PREFERENCES)}, got {preference!r}.")
    if not has[preference]:
        raise ModelError(
            f"The device {preference!r} is not available on this machine; choose auto or cpu."
        )
    return _with_digits(preference, float64)


def _with_digits(name: str, float64: bool) -> torch.device:
    return torch.device("cpu" if float64 and name == "mps" else name)


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware (twice as fast in training).

    A GPU without it only emulates it, slowly: there training keeps to 32 bit.
    """
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(device: torch.device, *, on_cpu: bool = True) -> torch.autocast:
    """Return the context of mixed precision: bfloat16 where the device has it, else nothing.

    Without `on_cpu` the CPU keeps to 32 bit, also where it has bfloat16.
    """
    enabled = (on_cpu or device.type != "cpu") and has_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory is full, an accelerator's or the machine's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in said or "can't allocate memory" in said or "_alloc_failed" in said
    )


def run_with_fallback(
    run: Callable[[torch.device], T], device: torch.device, notice: Notice | None = None
) -> tuple[T, torch.device]:
    """Run on a device, and once more on the CPU if the device is out of memory.

    Parameters
    ----------
    run
        Gets the device; must leave nothing half done when it raises.
    device
        Where to try first.
    notice
        Told when the CPU has to take over.

    Returns
    -------
    result
        What `run` returned.
    device
        Where it ran: keep it for the next call.
    """
    try:
        return run(device), device
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if notice is not None:
        notice(f"Out of memory on {device.type}; going on on the CPU, which is slower.")
    cpu = torch.device("cpu")
    return run(cpu), cpu
