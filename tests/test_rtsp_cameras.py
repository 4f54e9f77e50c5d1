"""Three cameras on a real RTSP server: one is well, one goes away and returns, one never answers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from benchmarks.supervised_run import Run
from services.store.history import History
from shared.errors import StorageError
from tests.ingest.rtsp_server import RtspServer

pytestmark = pytest.mark.data

AWAY_S = 20.0
BACK_WITHIN_S = 5.0
LONGEST_GAP_S = 1.0
"""Of a camera that is well, at 10 frames a second on a machine that is busy with other things."""


@pytest.fixture
def silent_address() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"


def times_s(data: Path, camera: int) -> list[float]:
    """UTC seconds of a camera's stored frames, in order."""
    try:
        with History(data) as history:
            rows = history.select(
                "SELECT t_ns FROM frames JOIN sessions USING (session_key) WHERE camera = ? ORDER BY t_ns",
                camera,
            )
    except StorageError:  # the store has not made it yet
        return []
    return [t_ns / 1e9 for (t_ns,) in rows]


def test_a_lost_camera_returns_and_neither_it_nor_a_mute_one_disturbs_the_others(
    shared_data: Path, silent_address: str, tmp_path: Path
) -> None:
    with ExitStack() as open_:
        well, leaving = (open_.enter_context(RtspServer(fps=10)) for _ in range(2))
        sources = {1: well.url, 2: leaving.url, 3: silent_address}
        config = tmp_path / "cameras.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "cameras": {number: {"source": source} for number, source in sources.items()},
                    "models": str(shared_data / "models"),
                    "detector": "person-detection-0200",
                    "report_every_s": 1.0,
                }
            )
        )
        run = open_.enter_context(Run(config, tmp_path / "data"))
        assert run.wait_until(lambda: len(times_s(run.data, 1)) > 20 and len(times_s(run.data, 2)) > 20)
        leaving.stop()
        left_s = time.time()
        assert run.wait_until(lambda: time.time() > left_s + AWAY_S, AWAY_S + 5)
        leaving.start()
        returned_s = time.time()
        assert run.wait_until(lambda: times_s(run.data, 2)[-1] > returned_s, BACK_WITHIN_S + 2)
        assert run.wait_until(lambda: times_s(run.data, 1)[-1] > returned_s + BACK_WITHIN_S)
        told = subprocess.run(
            [sys.executable, "-m", "tracking_system", "stats", str(run.data)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        run.interrupt()
        assert run.finish(60).code == 0

    first_back_s = min(at_s for at_s in times_s(run.data, 2) if at_s > left_s + 2)
    assert returned_s < first_back_s < returned_s + BACK_WITHIN_S
    undisturbed = [at_s for at_s in times_s(run.data, 1) if at_s > left_s - 1]
    gaps = [later - earlier for earlier, later in pairwise(undisturbed)]
    assert max(gaps) < LONGEST_GAP_S
    assert times_s(run.data, 3) == []
    log = (run.data / "tracker.log").read_text()
    assert "camera 2" in log
    assert "lost" in log.lower()
    assert "camera 3" in log
    assert "lost" in told
    assert "reconnects" in told
