"""The networks (torch).

What has to be set before torch is loaded stands here, for the sake of the window it runs beside.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Read once, when torch loads OpenMP. Its threads otherwise wait by spinning, and on a machine that
# is busy elsewhere (a training beside the window) a small network then takes 10 to 50 times longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# torch imports triton with the first optimizer, whether it is needed or not. triton brings its own
# LLVM, and a process in which Mesa's software OpenGL has loaded another one, a window on a machine
# without a GPU, ends there in a segmentation fault. Without a GPU nothing needs triton.
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))

if "triton" not in sys.modules and not any(device.exists() for device in _GPU_DEVICES):
    sys.modules["triton"] = None  # type: ignore[assignment]
