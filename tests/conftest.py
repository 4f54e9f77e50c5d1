"""What tests of every folder share: where the real video, weights and tools lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time, and no clock: other programs may keep a machine busy.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder beside the checkout that holds data/, models/ and tools/."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder with real video and weights does not lie beside this checkout")
    return SHARED
