"""What the tests of sockets share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared.wire import Context


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def ipc(tmp_path: Path) -> str:
    """An address in a folder of the test's own."""
    return f"ipc://{tmp_path}/hub"
