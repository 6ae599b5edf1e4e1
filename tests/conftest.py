"""Settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# pytest-qt chooses a Qt binding of its own unless it is told which one the program will use.
if "QT_API" in os.environ:
    os.environ.setdefault("PYTEST_QT_API", os.environ["QT_API"])

# These machines are shared and noisy: a slow example is no failure. The daily run tries the same
# examples every time, so that a change is judged by what it changed; `make check-long` tries new
# ones (GRAYDET_EXPLORE=1).
settings.register_profile(
    "graydet",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize="GRAYDET_EXPLORE" not in os.environ,
)
settings.load_profile("graydet")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real radiographs, or skip."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real radiographs (../shared/data) are not on this machine")
    return folder
