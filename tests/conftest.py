"""Settings shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# These machines are shared and noisy: a slow example is no failure.
settings.register_profile(
    "graydet", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("graydet")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real radiographs, or skip."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real radiographs (../shared/data) are not on this machine")
    return folder
