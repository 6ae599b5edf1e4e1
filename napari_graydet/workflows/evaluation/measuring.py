"""What a piece of work costs: seconds, and the most memory that the process held meanwhile."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"
"""What the kernel wants written to let the peak start anew (man 5 proc, clear_refs)."""


class Cost(BaseModel):
    """Seconds, and peaks in MiB.

    Parameters
    ----------
    seconds
        Wall time.
    memory
        Peak resident memory of the process, libraries and data included; None where the system
        does not tell.
    gpu
        Peak of torch's memory on the GPU; None without one.
    """

    seconds: float = 0.0
    memory: float | None = None
    gpu: float | None = None

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of one work after the other."""
        return Cost(
            seconds=self.seconds + other.seconds,
            memory=_larger(self.memory, other.memory),
            gpu=_larger(self.gpu, other.gpu),
        )


@contextmanager
def measured() -> Iterator[Cost]:
    """Give a `Cost` that is filled in when the block ends.

    Where Linux lets the peak start anew it is that of the block; elsewhere it is that of the
    process so far.
    """
    cost = Cost()
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_FORGET_PEAK)
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    try:
        yield cost
    finally:
        cuda = _cuda()
        if cuda is not None:
            cuda.synchronize()
            cost.gpu = round(cuda.max_memory_allocated() / _MIB, 1)
        cost.seconds = round(time.perf_counter() - began, 3)
        cost.memory = _peak()


def _cuda() -> Any:
    """Return torch.cuda where it is in use, without loading torch for the question."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _peak() -> float | None:
    """Return the peak resident memory in MiB."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = _STATUS.read_text().splitlines()
        kib = next(line for line in lines if line.startswith("VmHWM:")).split()[1]
        return round(int(kib) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
    return round(peak / (_MIB if sys.platform == "darwin" else 1024), 1)


def _larger(a: float | None, b: float | None) -> float | None:
    return max((v for v in (a, b) if v is not None), default=None)
