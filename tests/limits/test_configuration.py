"""Limits on cameras, settings and paths: the error comes where the value enters, and names it."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest
import zmq

from shared.config import Config
from shared.config_file import Setup, load
from shared.endpoints import MAX_LOCAL_PATH_BYTES, Endpoints
from shared.errors import ConfigError, LinkError
from shared.limits import (
    LATEST_START_NS,
    MAX_CAMERA,
    MAX_CAMERAS,
    MAX_FPS,
    MAX_IPC_PATH_BYTES,
    MAX_NAME_LENGTH,
    MAX_PEOPLE,
    MIN_FPS,
)
from shared.sockets import open_socket
from tests.detector.test_service import sees_nobody
from tests.limits.table import covers
from tests.shared.wire import Context
from tracking_system import MultiCameraTracker
from tracking_system.detection_file import MAX_FRAMES, DetectionFile

SETTINGS = [each.name for each in fields(Config) if each.metadata.get("low") is not None]


@pytest.fixture
def context() -> Context:
    return Context()


def loaded(folder: Path, cameras: str) -> Setup:
    path = folder / "cameras.yaml"
    path.write_text(f"cameras:\n{cameras}\n")
    return load(path, environment={})


def refused(folder: Path, cameras: str) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(folder, cameras)
    return str(error.value)


@covers("shared.limits.MAX_CAMERA")
def test_the_largest_camera_id_is_taken_and_the_next_is_refused(tmp_path: Path) -> None:
    assert MAX_CAMERA in loaded(tmp_path, f"  {MAX_CAMERA}: {{source: '0'}}").cameras
    said = refused(tmp_path, f"  {MAX_CAMERA + 1}: {{source: '0'}}")
    assert said.startswith("cameras.yaml:2: a camera's id must be a whole number from 1 to 2147483647")
    with MultiCameraTracker(extractor=sees_nobody()) as tracker:
        tracker.register_camera(MAX_CAMERA)
        with pytest.raises(ConfigError, match="from 1 to 2147483647"):
            tracker.register_camera(MAX_CAMERA + 1)


@covers("shared.limits.MAX_CAMERAS")
def test_a_configuration_of_the_most_cameras_is_taken_and_one_more_is_refused(tmp_path: Path) -> None:
    most = "\n".join(f"  {number}: {{source: '0'}}" for number in range(1, MAX_CAMERAS + 1))
    assert len(loaded(tmp_path, most).cameras) == MAX_CAMERAS
    said = refused(tmp_path, f"{most}\n  9999: {{source: '0'}}")
    assert f"cameras.yaml:{MAX_CAMERAS + 2}: more than {MAX_CAMERAS} cameras" in said


@covers("shared.limits.MAX_NAME_LENGTH")
def test_the_longest_name_of_a_camera_is_taken_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    longest = "\N{GRINNING FACE}" * MAX_NAME_LENGTH
    assert loaded(tmp_path, f"  1: {{source: '0', name: {longest}}}").cameras[1].name == longest
    assert "at most 200 letters" in refused(tmp_path, f"  1: {{source: '0', name: {longest}x}}")


def test_a_name_that_utf8_cannot_write_is_refused(tmp_path: Path) -> None:
    assert "UTF-8" in refused(tmp_path, r'  1: {source: "0", name: "\ud800"}')


def test_a_source_in_a_folder_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    said = refused(folder, "  1: {source: gate.mp4}")
    assert said.startswith("cameras.yaml:2: camera 1: source must be UTF-8")


@covers("shared.limits.LATEST_START_NS")
def test_a_start_at_either_end_is_taken_and_one_beyond_is_refused(tmp_path: Path) -> None:
    for time, start_ns in (("1970-01-01T00:00:00", 0), ("2199-01-01T00:00:00", LATEST_START_NS)):
        assert loaded(tmp_path, f"  1: {{source: a.mp4, start: {time}}}").cameras[1].start_ns == start_ns
    for time in ("1969-12-31T23:59:59", "2199-01-01T00:00:01"):
        said = refused(tmp_path, f"  1: {{source: a.mp4, start: {time}}}")
        assert "camera 1: start must lie between 1970 and the end of 2198" in said


@covers("shared.limits.MIN_FPS", "shared.limits.MAX_FPS")
def test_a_rate_at_either_end_is_taken_and_one_beyond_is_refused(tmp_path: Path) -> None:
    for fps in (MIN_FPS, MAX_FPS):
        assert loaded(tmp_path, f"  1: {{source: a, fps: {fps}}}").cameras[1].fps == fps
    for fps in (0.0009, 1001):
        assert "fps must be a number from 0.001 to 1000" in refused(
            tmp_path, f"  1: {{source: a, fps: {fps}}}"
        )


@covers("shared.config.Config.window", "shared.config.Config.outbox")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_at_either_end_of_its_range_is_taken_and_one_beyond_is_refused(name: str) -> None:
    metadata = Config.__dataclass_fields__[name].metadata
    for value, beyond in ((metadata["low"], -1), (metadata["high"], 1)):
        kind = type(getattr(Config(), name))
        assert getattr(Config(**{name: kind(value)}), name) == value
        with pytest.raises(ConfigError, match=f"{name} must be at least .* and at most"):
            Config(**{name: kind(value + beyond)})


@covers("shared.limits.MAX_IPC_PATH_BYTES")
def test_a_socket_at_the_longest_path_works_and_a_longer_one_is_refused_where_it_is_configured(
    context: Context, tmp_path: Path
) -> None:
    longest = f"ipc://{tmp_path}/".ljust(len("ipc://") + MAX_IPC_PATH_BYTES, "x")
    endpoints = Endpoints.network("a", "b", "c").with_addresses({"control": longest})
    ends = [open_socket(context, zmq.PAIR, endpoints.control, bind=bind) for bind in (True, False)]
    ends[1].send(b"heard")
    assert ends[0].recv() == b"heard"
    with pytest.raises(ConfigError, match=r"endpoint control: .* at most 107 bytes, this one has 108"):
        endpoints.with_addresses({"control": f"{longest}x"})
    for bind in (True, False):
        with pytest.raises(LinkError, match="at most 107 bytes"):
            open_socket(context, zmq.PAIR, f"{longest}x", bind=bind)
    context.destroy(linger=0)


@covers("shared.endpoints.MAX_LOCAL_PATH_BYTES")
def test_sockets_lie_in_the_data_folder_up_to_the_longest_path_and_elsewhere_beyond(tmp_path: Path) -> None:
    room = MAX_LOCAL_PATH_BYTES - len("/run") - 12
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "d").ljust(room, b"d")))
    assert Endpoints.local(folder).control == f"ipc://{folder}/run/control"
    beyond = Path(f"{folder}d")
    assert str(beyond) not in Endpoints.local(beyond).control


@covers("tracking_system.detection_file.MAX_FRAMES")
def test_lines_of_a_detection_file_beyond_a_limit_are_skipped_and_named(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    lines = ["1,-1,10,10,5,5,0.9"] * (MAX_PEOPLE + 1)
    lines += [f"{frame},-1,10,10,5,5,0.9" for frame in (MAX_FRAMES, MAX_FRAMES + 1)]
    path.write_text("\n".join(lines))
    read = DetectionFile.read(path)
    assert len(read.rows) == MAX_PEOPLE + 1
    assert [number for number, _ in read.skipped] == [MAX_PEOPLE + 1, MAX_PEOPLE + 3]
    assert "more than 4096 rows" in read.skipped[0][1] and "from 1 to 10000000" in read.skipped[1][1]
