"""The five services together, as `tracking-system run` starts them, on real video with real networks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import psutil
import pytest
import yaml

from benchmarks.supervised_run import Run, exported, frames_on_disk
from services.store.history import History

pytestmark = pytest.mark.data

Start: TypeAlias = Callable[..., Run]

FRAMES = 60
AT_ONCE_S = 10.0
WINDOWS = {1: slice(0, 330), 2: slice(220, 550), 3: slice(438, 768)}


@pytest.fixture(scope="module")
def videos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Three overlapping windows of the plaza, `FRAMES` frames each."""
    folder = tmp_path_factory.mktemp("videos")
    paths = {camera: folder / f"cam{camera}.mp4" for camera in WINDOWS}
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    writers = {camera: cv2.VideoWriter(str(path), fourcc, 10, (330, 390)) for camera, path in paths.items()}
    capture = cv2.VideoCapture(str(shared_data / "data/video/vtest.avi"))
    for _ in range(FRAMES):
        image = np.asarray(capture.read()[1])
        for camera, columns in WINDOWS.items():
            writers[camera].write(np.ascontiguousarray(image[110:500, columns]))
    for writer in writers.values():
        writer.release()
    return paths


@pytest.fixture
def config(shared_data: Path, videos: dict[int, Path], tmp_path: Path) -> Path:
    """The three cameras, with the smaller of the networks."""
    return write_config(tmp_path / "cameras.yaml", shared_data, videos)


def write_config(path: Path, shared_data: Path, sources: dict[int, Path], **settings: object) -> Path:
    cameras = {camera: {"source": str(source)} for camera, source in sources.items()}
    models = {"models": str(shared_data / "models"), "detector": "person-detection-0200"}
    path.write_text(yaml.safe_dump({"cameras": cameras, **models, **settings}))
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts runs, and ends those that a failed test leaves behind."""
    with ExitStack() as runs:
        yield lambda *arguments, **options: runs.enter_context(Run(*arguments, **options))


def log_of(run: Run) -> str:
    return run.log.read_text()


@pytest.fixture(scope="module")
def calm(
    shared_data: Path, videos: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, bytes]]:
    """What an undisturbed run exports."""
    folder = tmp_path_factory.mktemp("calm")
    run = Run(write_config(folder / "cameras.yaml", shared_data, videos), folder / "data")
    outcome = run.finish(120)
    assert outcome.code == 0, log_of(run)
    assert outcome.frames == dict.fromkeys(WINDOWS, FRAMES)
    assert outcome.repeated == 0
    yield exported(folder / "data", folder / "mot")


def test_the_same_recordings_give_the_same_bytes_twice(
    calm: dict[str, bytes], config: Path, tmp_path: Path, start: Start
) -> None:
    outcome = start(config, tmp_path / "data").finish(120)
    assert outcome.code == 0
    assert sum(len(rows) for rows in calm.values()) > 10_000, "people were found"
    assert exported(tmp_path / "data", tmp_path / "mot") == calm


def test_a_run_in_which_services_are_killed_ends_as_if_nothing_had_happened(
    calm: dict[str, bytes], config: Path, tmp_path: Path, start: Start
) -> None:
    run = start(config, tmp_path / "data")
    for number, service in enumerate(("tracker", "ingest 2", "store")):
        assert run.wait_for_frames(1 + 25 * number), log_of(run)
        assert run.kill(service)
    outcome = run.finish(120)
    assert outcome.code == 0, log_of(run)
    assert (outcome.frames, outcome.repeated) == (dict.fromkeys(WINDOWS, FRAMES), 0)
    assert exported(tmp_path / "data", tmp_path / "mot") == calm


def test_a_killed_detector_loses_no_frame_and_repeats_none(
    config: Path, tmp_path: Path, start: Start
) -> None:
    run = start(config, tmp_path / "data")
    assert run.wait_for_frames(1), log_of(run)
    assert run.kill("detector")
    outcome = run.finish(120)
    assert (outcome.code, outcome.frames, outcome.repeated) == (0, dict.fromkeys(WINDOWS, FRAMES), 0)


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on_to_the_same_end(
    calm: dict[str, bytes], config: Path, tmp_path: Path, start: Start
) -> None:
    data = tmp_path / "data"
    first = start(config, data)
    assert first.wait_for_frames(20), log_of(first)
    first.interrupt()
    outcome = first.finish(60)
    assert outcome.code == 130
    assert "Traceback" not in log_of(first)
    assert start(config, data).finish(120).code == 0
    assert frames_on_disk(data) == (dict.fromkeys(WINDOWS, FRAMES), 0)
    with History(data) as history:
        assert history.identities()


def test_a_second_ctrl_c_ends_a_run_whose_tracker_does_not_answer_at_once(
    config: Path, tmp_path: Path, start: Start
) -> None:
    run = start(config, tmp_path / "data")
    assert run.wait_for_frames(1), log_of(run)
    psutil.Process(run.services()["tracker"]).suspend()
    run.interrupt()
    assert run.wait_for_log("Ctrl-C again ends it at once"), log_of(run)
    run.interrupt()
    began_s = time.monotonic()
    outcome = run.finish(60)
    assert outcome.code == 130
    assert time.monotonic() - began_s < AT_ONCE_S
    assert "Traceback" not in log_of(run)


def test_a_store_killed_while_a_shell_holds_the_database_goes_on_when_that_is_gone(
    config: Path, tmp_path: Path, start: Start
) -> None:
    run = start(config, tmp_path / "data")
    assert run.wait_for_frames(1), log_of(run)
    with closing(sqlite3.connect(run.data / "tracking.db", isolation_level=None, timeout=30)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        assert run.kill("store")
        # Said by a store that began to wait after SQLite's own 5 s; the killed one may have said it too.
        assert run.wait_for_log("another process holds the database"), log_of(run)
        shell.execute("ROLLBACK")
    outcome = run.finish(120)
    assert outcome.code == 0, log_of(run)
    assert (outcome.frames, outcome.repeated) == (dict.fromkeys(WINDOWS, FRAMES), 0)


def test_a_video_that_cannot_be_read_is_named_before_anything_starts(
    shared_data: Path, videos: dict[int, Path], tmp_path: Path, start: Start
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    config = write_config(tmp_path / "c.yaml", shared_data, {**videos, 4: tmp_path / "broken.mp4"})
    run = start(config, tmp_path / "data")
    assert run.finish(60).code == 2
    assert "camera 4" in log_of(run)
    assert "broken.mp4" in log_of(run)
    assert "Traceback" not in log_of(run)


def test_a_video_that_breaks_off_costs_only_its_own_missing_frames(
    shared_data: Path, videos: dict[int, Path], tmp_path: Path, start: Start
) -> None:
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (330, 390))
    capture = cv2.VideoCapture(str(videos[1]))
    for _ in range(FRAMES):
        writer.write(np.asarray(capture.read()[1]))
    writer.release()
    broken = tmp_path / "broken.avi"
    content = whole.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    config = write_config(tmp_path / "c.yaml", shared_data, {1: broken, 2: videos[2]})
    run = start(config, tmp_path / "data")
    outcome = run.finish(120)
    assert outcome.code == 0, log_of(run)
    assert outcome.frames[2] == FRAMES
    assert 0 < outcome.frames[1] < FRAMES


def test_a_port_in_use_is_one_clear_error(
    shared_data: Path, videos: dict[int, Path], tmp_path: Path, start: Start
) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        config = write_config(
            tmp_path / "c.yaml",
            shared_data,
            videos,
            endpoints={"tracks": f"tcp://127.0.0.1:{port}"},
        )
        run = start(config, tmp_path / "data")
        outcome = run.finish(60)
    assert outcome.code == 1
    assert f"tcp://127.0.0.1:{port}" in log_of(run)
    assert "another program uses it" in log_of(run)
    assert "Traceback" not in log_of(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("file systems can be mounted only by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_once_and_nothing_is_lost_when_there_is_space_again(
    shared_data: Path, videos: dict[int, Path], small_disk: Path, tmp_path: Path, start: Start
) -> None:
    config = write_config(tmp_path / "c.yaml", shared_data, videos)
    run = start(config, small_disk / "data", log=tmp_path / "run.log")
    assert run.wait_for_frames(1)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    assert run.wait_for_log("trying again"), log_of(run)
    filler.unlink()
    outcome = run.finish(120)
    assert outcome.code == 0, log_of(run)
    assert (outcome.frames, outcome.repeated) == (dict.fromkeys(WINDOWS, FRAMES), 0)


def test_children_do_not_outlive_a_killed_supervisor(config: Path, tmp_path: Path, start: Start) -> None:
    run = start(config, tmp_path / "data")
    assert run.wait_for_frames(1), log_of(run)
    pids = list(run.services().values())
    os.kill(run.pid, signal.SIGKILL)
    run.finish(30)
    assert run.wait_until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_run_on_the_same_folder_is_refused(config: Path, tmp_path: Path, start: Start) -> None:
    run = start(config, tmp_path / "data")
    assert run.wait_for_frames(1), log_of(run)
    # Without its detector the first run cannot end before the second has begun.
    detector = psutil.Process(run.services()["detector"])
    detector.suspend()
    second = subprocess.run(
        [sys.executable, "-m", "tracking_system", "run", str(config), "--headless", "--data", str(run.data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    detector.resume()
    assert second.returncode == 2
    assert "in use by tracking-system run" in second.stderr
    run.interrupt()
    run.finish(60)
