from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging
logging.basicConfig(format="%(message)s", level=logging.INFO)
from services.tracker.warming import warm
warm()
"""


def told(cache: Path) -> str:
    """What a process that has nothing but this cache folder says while it gets ready."""
    environment = os.environ | {"TRACKING_SYSTEM_CACHE": str(cache)}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
    )
    return ended.stderr


def test_compiling_is_said_and_its_result_kept_for_the_next_process(tmp_path: Path) -> None:
    assert "compiling the tracker's loops" in told(tmp_path)
    assert told(tmp_path) == ""
