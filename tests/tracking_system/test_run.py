"""`tracking-system run`: five real services on short real recordings."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import psutil
import pytest
import yaml

from services.store.history import History
from services.store.statistics import statistics
from tests.tracking_system.plaza import (
    PATIENCE_S,
    SETTINGS,
    await_condition,
    command,
    configured,
    frames_on_disk,
    record,
    tracking_system,
)
from tracking_system.missing_frames import missing_text

pytestmark = pytest.mark.data

SHORT, LONG = 12, 60


@pytest.fixture(scope="session")
def recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    video = shared_data / "data/video/vtest.avi"
    return {
        f"{name} {side}": record(video, folder / f"{name}-{side}.mp4", frames, columns, fps)
        for name, frames, fps in (("short", SHORT, 10.0), ("long", LONG, 10.0), ("fast", LONG, 200.0))
        for side, columns in (("left", slice(0, 384)), ("right", slice(384, 768)))
    }


@pytest.fixture
def short(recordings: dict[str, Path], shared_data: Path, tmp_path: Path) -> Path:
    """The configuration of two short recordings."""
    sources = [recordings["short left"], recordings["short right"]]
    return configured(tmp_path, shared_data / "models", sources)


@pytest.fixture
def long(recordings: dict[str, Path], shared_data: Path, tmp_path: Path) -> Path:
    """The configuration of two longer recordings."""
    return configured(tmp_path, shared_data / "models", [recordings["long left"], recordings["long right"]])


@contextmanager
def without_detector(run: subprocess.Popen[str]) -> Iterator[None]:
    """The run cannot end meanwhile, however long it takes."""
    (detector,) = [each for each in psutil.Process(run.pid).children() if "detector" in each.cmdline()]
    detector.suspend()
    yield
    detector.resume()


@contextmanager
def running(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command("run", *words), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_recorded_run_ends_by_itself_with_every_frame(short: Path, tmp_path: Path) -> None:
    data, mosaic = tmp_path / "data", tmp_path / "mosaic.mp4"
    done = tracking_system("run", short, "--headless", "--data", data, "--record", mosaic)
    assert done.returncode == 0, done.stderr
    assert frames_on_disk(data) == {1: SHORT, 2: SHORT}
    with History(data) as history:
        assert [camera.ended for camera in statistics(history).cameras] == ["finished"] * 2
        services = {report.service for report in statistics(history).reports}
    assert services >= {"ingest", "detector", "tracker", "store"}
    capture = cv2.VideoCapture(str(mosaic))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(SHORT, abs=2)
    capture.release()
    log = (data / "tracker.log").read_text()
    assert "INFO    ingest camera=2 [MainThread]" in log
    assert "Traceback" not in done.stderr + log


def test_every_frame_that_a_live_camera_lost_is_counted_and_told(
    recordings: dict[str, Path], shared_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    config = tmp_path / "cameras.yaml"
    sources = [recordings[f"fast {side}"] for side in ("left", "right")]
    cameras = "".join(f"  {n}: {{source: {source}, delivery: live}}\n" for n, source in enumerate(sources, 1))
    config.write_text(f"cameras:\n{cameras}models: {shared_data / 'models'}\n{SETTINGS}target_fps: 240\n")
    done = tracking_system("run", config, "--headless", "--data", data)
    assert done.returncode == 0, done.stderr
    with History(data) as history:
        numbers = statistics(history)
    captured = {r.instance: r.readings["frames"] for r in numbers.reports if r.service == "ingest"}
    assert {c.camera: c.frames + c.missing for c in numbers.cameras} == captured
    told = tracking_system("stats", data).stdout
    for camera in numbers.cameras:
        assert camera.missing > 0, "faster than any detector"
        assert missing_text(camera) in done.stderr
        assert f"{camera.name}: {missing_text(camera)}" in told


def test_the_same_run_again_says_that_nothing_is_left_and_another_recording_is_refused(
    short: Path, recordings: dict[str, Path], shared_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert tracking_system("run", short, "--headless", "--data", data).returncode == 0
    again = tracking_system("run", short, "--headless", "--data", data)
    assert again.returncode == 0
    assert "nothing was left to do" in again.stderr
    assert "started" not in again.stderr
    (tmp_path / "other").mkdir()
    sources = [recordings["short left"], recordings["long right"]]
    other = configured(tmp_path / "other", shared_data / "models", sources)
    refused = tracking_system("run", other, "--headless", "--data", data)
    assert refused.returncode == 2
    assert f"camera 2 is {sources[1]}, but in {data} it is {recordings['short right']}" in refused.stderr
    assert frames_on_disk(data) == {1: SHORT, 2: SHORT}
    # What is stored of people, and the way to cameras, is for its owner only.
    modes = {path.name: path.stat().st_mode & 0o777 for path in (data, data / "run" / "cameras.yaml")}
    assert modes == {"data": 0o700, "cameras.yaml": 0o600}
    assert {path.stat().st_mode & 0o777 for path in data.glob("tracking.db*")} == {0o600}


def test_services_are_told_which_networks_were_found(short: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert tracking_system("run", short, "--headless", "--data", data).returncode == 0
    told = yaml.safe_load((data / "run" / "cameras.yaml").read_text())
    assert told["embedder"] == "person-reidentification-retail-0287"


def test_a_camera_that_fails_is_taken_out_and_the_others_finish(
    recordings: dict[str, Path], shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    config = configured(tmp_path, shared_data / "models", [recordings["short left"], "pictures"])
    data = tmp_path / "data"
    done = tracking_system("run", config, "--headless", "--data", data)
    assert done.returncode == 1
    assert "ingest 2" in done.stderr
    assert frames_on_disk(data) == {1: SHORT}


def test_sources_that_cannot_be_read_are_all_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "garbage.mp4").write_bytes(b"no video" * 1000)
    config = configured(tmp_path, tmp_path, ["missing.mp4", "garbage.mp4"])
    done = tracking_system("run", config, "--headless", "--data", tmp_path / "data")
    assert done.returncode == 2
    assert "camera 1:" in done.stderr
    assert "missing.mp4 does not exist" in done.stderr
    assert "garbage.mp4 cannot be read as a video" in done.stderr
    assert not (tmp_path / "data").exists()


def test_missing_networks_end_a_run_before_it_starts(short: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = tracking_system("run", short, "--headless", "--data", data, "--set", "detector=nothing")
    assert done.returncode == 2
    assert "unknown network 'nothing'" in done.stderr
    assert "Traceback" not in done.stderr
    assert frames_on_disk(data) == {}


def test_a_run_with_a_window_needs_a_display(short: Path, tmp_path: Path) -> None:
    done = tracking_system("run", short, "--data", tmp_path / "data", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 2
    assert "--headless" in done.stderr


def test_one_follows_and_names_people_while_the_run_goes_on(long: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"

    def person() -> int | None:
        if not frames_on_disk(data):
            return None
        with History(data) as history:
            return next((each.identity for each in history.identities()), None)

    with running(long, "--headless", "--data", data) as process:
        await_condition(lambda: person() is not None, "a first person")
        identity = str(person())
        with without_detector(process):
            followed = tracking_system("follow", identity, "--data", data)
            named = tracking_system("name", identity, "Ada", "--data", data)
            refused = tracking_system("follow", "9999", "--data", data)
        assert followed.stdout == f"person {identity} is followed\n"
        assert named.returncode == 0
        assert refused.returncode == 2
        assert "no person 9999" in refused.stderr
        assert process.wait(PATIENCE_S) == 0
    assert f"person {identity} (Ada) was last seen in" in tracking_system("last-seen", data, identity).stdout
