"""A recording is known by its content, and keeps the start that it was first given."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.ingest.recording import recorded_session, start_of
from shared.config import CameraConfig
from shared.limits import LATEST_START_NS
from tests.ingest.test_files import video


def camera(source: Path, number: int = 1) -> CameraConfig:
    return CameraConfig(number, str(source))


def at(path: Path, time_s: int) -> Path:
    os.utime(path, (time_s, time_s))
    return path


def picture(path: Path, grey: int) -> Path:
    assert cv2.imwrite(str(path), np.full((8, 8, 3), grey, np.uint8))
    return path


def test_a_file_that_is_moved_touched_or_copied_is_the_same_recording(tmp_path: Path) -> None:
    source = video(tmp_path / "gate.avi")
    session = recorded_session(camera(source))
    at(source, 1000)
    assert recorded_session(camera(source)) == session
    assert recorded_session(camera(Path(shutil.copy(source, tmp_path / "copy.avi")))) == session
    assert recorded_session(camera(source.rename(tmp_path / "moved.avi"))) == session


@pytest.mark.parametrize("place", [100, 200_000, -100])
def test_a_file_with_other_bytes_at_its_head_its_tail_or_more_of_them_is_another(
    tmp_path: Path, place: int
) -> None:
    source = tmp_path / "gate.mp4"
    content = bytearray(np.random.default_rng(0).bytes(200_000))
    source.write_bytes(content)
    session = recorded_session(camera(source))
    if place == len(content):
        content.append(0)
    else:
        content[place] ^= 1
    source.write_bytes(content)
    at(source, 1000)
    assert recorded_session(camera(source)) != session


def test_a_folder_that_grows_is_the_same_recording_and_with_another_first_picture_is_another(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "2.png", 10)
    session = recorded_session(camera(folder))
    picture(folder / "10.png", 20)
    assert recorded_session(camera(folder)) == session
    picture(folder / "2.png", 30)
    assert recorded_session(camera(folder)) != session
    picture(folder / "2.png", 10)
    picture(folder / "1.png", 40)
    assert recorded_session(camera(folder)) != session


def test_settings_that_change_times_make_another_recording(tmp_path: Path) -> None:
    source = video(tmp_path / "gate.avi")
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "1.png", 10)
    assert recorded_session(replace(camera(source), start_ns=5)) != recorded_session(camera(source))
    assert recorded_session(replace(camera(source), fps=5.0)) == recorded_session(camera(source))
    assert recorded_session(replace(camera(folder), fps=5.0)) != recorded_session(camera(folder))
    assert recorded_session(replace(camera(folder), fps=10.0)) == recorded_session(camera(folder))
    assert recorded_session(replace(camera(source), name="Gate")) == recorded_session(camera(source))


def test_what_cannot_be_read_is_still_told_apart_by_its_path(tmp_path: Path) -> None:
    sessions = {recorded_session(camera(tmp_path / name)) for name in ("a", "b", "x" * 5000)}
    (tmp_path / "empty").mkdir()
    sessions.add(recorded_session(camera(tmp_path / "empty")))
    assert len(sessions) == 4


def test_cameras_of_one_shoot_share_the_oldest_modification_time(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    at(picture(folder / "1.png", 10), 3000)
    cameras = {
        1: camera(at(video(tmp_path / "a.avi", 1), 2000), 1),
        2: camera(at(video(tmp_path / "b.avi", 2), 1000), 2),
        3: camera(folder, 3),
        4: replace(camera(tmp_path / "a.avi", 4), start_ns=7),
        5: CameraConfig(5, "rtsp://camera.example"),
        6: camera(tmp_path / "missing.avi", 6),
    }
    starts = {number: start_of(each, cameras, tmp_path / "data") for number, each in cameras.items()}
    assert starts == {**dict.fromkeys(cameras, 1000 * 10**9), 4: 7}


def test_touching_moving_or_adding_a_camera_changes_nobody_elses_times(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first, second = at(video(tmp_path / "a.avi", 1), 2000), at(video(tmp_path / "b.avi", 2), 3000)
    cameras = {1: camera(first, 1), 2: camera(second, 2)}
    before = [start_of(each, cameras, data) for each in cameras.values()]
    assert before == [2000 * 10**9] * 2
    at(first, 9000)
    moved = first.rename(tmp_path / "moved.avi")
    older = at(video(tmp_path / "c.avi", 3), 1000)
    cameras = {1: camera(moved, 1), 2: camera(second, 2), 3: camera(older, 3)}
    assert [start_of(each, cameras, data) for each in cameras.values()] == [2000 * 10**9] * 3


def test_a_recording_in_place_of_another_begins_with_those_that_stay_or_at_its_own_time(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    source = at(video(tmp_path / "a.avi", 1), 2000)
    cameras = {1: camera(source)}
    assert start_of(cameras[1], cameras, data) == 2000 * 10**9
    at(video(source, 2), 5000)
    assert start_of(cameras[1], cameras, data) == 5000 * 10**9
    at(video(source, 1), 9000)
    assert start_of(cameras[1], cameras, data) == 2000 * 10**9


def test_a_modification_time_outside_the_range_of_starts_is_moved_into_it(tmp_path: Path) -> None:
    for time_s, start_ns in ((-5, 0), (8_000_000_000, LATEST_START_NS)):
        source = at(video(tmp_path / f"{time_s}.avi", 1), time_s)
        assert start_of(camera(source), {1: camera(source)}, tmp_path / f"data{time_s}") == start_ns


def test_a_folder_that_takes_no_start_is_said_and_does_not_stop_the_camera(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").touch()
    source = at(video(tmp_path / "a.avi", 1), 2000)
    assert start_of(camera(source), {1: camera(source)}, tmp_path / "data") == 2000 * 10**9
    assert "the recording's start cannot be kept in" in caplog.text
