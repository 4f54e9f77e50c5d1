"""A database with nothing in it yet, and a way to fill it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.store.database import DatabaseManager
from services.store.history import History


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DatabaseManager]:
    with DatabaseManager(tmp_path) as manager:
        yield manager


@pytest.fixture
def history(database: DatabaseManager) -> Iterator[History]:
    with History(database.path.parent) as history:
        yield history


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
