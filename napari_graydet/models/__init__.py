"""The networks (torch)."""

from __future__ import annotations

import os

# Read once, when torch loads OpenMP. Its threads otherwise wait by spinning, and on a machine that
# is busy elsewhere (a training beside the window) a small network then takes 10 to 50 times longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
