from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.viewer.recorder import SPARE_BYTES, Recorder, VideoFile
from shared.errors import StorageError
from tests.viewer.samples import picture, shown

BOX = (120.0, 80.0, 160.0, 200.0)
TITLES = {1: "Gate", 2: "Yard"}


def _read(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while True:
        ok, image = capture.read()
        if not ok:
            return frames
        frames.append(image)


def test_a_recording_has_one_picture_for_each_tick_and_the_cameras_rate(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recorder = Recorder(path, TITLES, (640, 360))
    for index in range(25):
        recorder.add([shown(1, index, [BOX], [3])])
        recorder.add([shown(2, index, [BOX], [4], colour=(40, 60, 160))])
        recorder.write(most=4)
    recorder.end(1, "finished")
    recorder.end(2, "finished")
    recorder.close()
    assert recorder.frames == 25
    frames = _read(path)
    assert len(frames) == 25
    assert frames[0].shape == (360, 640, 3)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 10


def test_a_recording_that_is_stopped_early_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recorder = Recorder(path, TITLES, (640, 360))
    for index in range(12):
        recorder.add([shown(1, index)])
    recorder.close()
    assert len(_read(path)) == 12


def test_pictures_are_at_most_as_many_as_asked_for(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", {1: "Gate"}, (320, 180))
    recorder.add(shown(1, index) for index in range(20))
    assert recorder.write(most=3) == 3
    assert recorder.waiting == 17
    recorder.close()


def test_a_recording_of_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    Recorder(path, TITLES).close()
    assert not path.exists()


def test_a_missing_folder_is_told_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no folder"):
        Recorder(tmp_path / "nowhere" / "out.mp4", TITLES)


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="may not be written"):
        Recorder(tmp_path, TITLES)


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"name a \.mp4 file"):
        VideoFile(tmp_path / "out.txt", 10, (320, 240))


def test_a_full_disk_ends_the_recording_with_one_error_and_a_playable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    left = [SPARE_BYTES + 10] * 5 + [SPARE_BYTES - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 30, 0, left.pop(0)))
    video = VideoFile(tmp_path / "out.mp4", 10, (320, 240))
    for _ in range(5):
        video.write(picture())
    with pytest.raises(StorageError, match="disk full"):
        video.write(picture())
    assert len(_read(tmp_path / "out.mp4")) == 5
