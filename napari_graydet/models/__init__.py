"""The networks (torch).

Without a GPU nothing here needs triton, and torch imports it all the same (with the first optimizer).
triton brings its own LLVM, and a process in which Mesa's software OpenGL has loaded another LLVM, a
window on a machine without a GPU, ends there in a segmentation fault. So it is kept out.
"""

from __future__ import annotations

import sys
from pathlib import Path

_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))

if "triton" not in sys.modules and not any(device.exists() for device in _GPU_DEVICES):
    sys.modules["triton"] = None  # type: ignore[assignment]
