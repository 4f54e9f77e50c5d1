"""What a data folder says of the cameras that are to run on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.ingest.recording import recorded_session
from services.store.database import DatabaseManager
from services.store.history import History
from shared.config import CameraConfig, Config
from shared.config_file import Setup
from shared.errors import ConfigError
from shared.messages import End
from tests.ingest.test_files import video
from tests.ingest.test_recording import picture
from tests.store.scene import stamp, tracks
from tracking_system.continuation import continue_folder

FRAMES = 3


def setup(*cameras: CameraConfig) -> Setup:
    return Setup({each.id: each for each in cameras}, Config())


def stored(data: Path, *cameras: CameraConfig, ended: str | None = "finished") -> None:
    """A run of these cameras, each with a few frames."""
    with DatabaseManager(data) as database:
        database.set_cameras({each.id: each for each in cameras})
        for camera in cameras:
            session = recorded_session(camera) if "://" not in camera.source else 5
            for index in range(FRAMES):
                at = stamp(camera.id, index, session=session)
                database.commit([(camera.id, session, index, tracks(at))])
            if ended:
                database.commit([(camera.id, session, FRAMES, End(at, ended, frames=FRAMES))])


@pytest.fixture
def gate(tmp_path: Path) -> CameraConfig:
    return CameraConfig(1, str(video(tmp_path / "gate.avi", FRAMES)), "Gate")


@pytest.fixture
def other(tmp_path: Path) -> CameraConfig:
    return CameraConfig(1, str(video(tmp_path / "other.avi", FRAMES + 1)), "Other")


LIVE = CameraConfig(2, "rtsp://admin:first@h/1", "Hall")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.name == "tracking_system.continuation"]


@pytest.fixture
def data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.INFO)
    return tmp_path / "data"


def test_a_new_folder_takes_any_cameras(gate: CameraConfig, data: Path) -> None:
    assert continue_folder(setup(gate), data)
    assert not data.exists()


def test_another_recording_under_a_used_number_is_refused_with_both_sources(
    gate: CameraConfig, other: CameraConfig, data: Path
) -> None:
    stored(data, gate)
    with pytest.raises(ConfigError) as caught:
        continue_folder(setup(other), data)
    assert str(caught.value) == (
        f"camera 1 is {other.source}, but in {data} it is {gate.source}: choose another folder with --data, "
        "or another id for this camera"
    )


def test_a_recording_and_a_live_camera_cannot_have_the_same_number(gate: CameraConfig, data: Path) -> None:
    stored(data, gate, LIVE)
    swapped = setup(replace(LIVE, id=1), replace(gate, id=2))
    with pytest.raises(ConfigError, match=r"camera 1 is rtsp://admin:\*\*\*@h/1, .*; camera 2 is "):
        continue_folder(swapped, data)


def test_nothing_is_left_of_recordings_that_are_stored_to_their_ends(gate: CameraConfig, data: Path) -> None:
    stored(data, gate)
    assert not continue_folder(setup(gate), data)


@pytest.mark.parametrize("ended", [None, "failed"])
def test_a_recording_that_is_not_at_its_end_goes_on(
    gate: CameraConfig, data: Path, ended: str | None
) -> None:
    stored(data, gate, ended=ended)
    assert continue_folder(setup(gate), data)


def test_the_same_recording_at_another_path_is_the_same_camera(
    gate: CameraConfig, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored(data, gate)
    moved = replace(gate, source=str(Path(gate.source).rename(tmp_path / "moved.avi")))
    assert not continue_folder(setup(moved), data)
    assert said(caplog) == [f"Gate: the recording {gate.source} is at {moved.source} now"]


def test_a_replaced_file_is_processed_and_said(
    gate: CameraConfig, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored(data, gate)
    video(Path(gate.source), FRAMES + 2)
    assert continue_folder(setup(gate), data)
    assert len(said(caplog)) == 1
    assert "is not the recording that is stored" in said(caplog)[0]


def test_a_new_name_is_said_and_kept_although_nothing_is_left_to_do(
    gate: CameraConfig, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored(data, gate)
    assert not continue_folder(setup(replace(gate, name="Door")), data)
    assert said(caplog) == ["camera 1 is called 'Door' now, and was 'Gate'"]
    with History(data) as history:
        assert history.cameras()[1].name == "Door"


def test_a_live_cameras_new_address_is_said_without_its_password(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored(data, LIVE)
    assert continue_folder(setup(replace(LIVE, source="rtsp://admin:second@h/2")), data)
    assert said(caplog) == ["Hall: the address is rtsp://admin:***@h/2 now, and was rtsp://admin:***@h/1"]


def test_cameras_may_be_added_and_removed(gate: CameraConfig, data: Path, tmp_path: Path) -> None:
    stored(data, gate, LIVE)
    added = CameraConfig(3, str(video(tmp_path / "yard.avi", 2)))
    assert continue_folder(setup(gate, added), data)


def test_of_a_folder_that_has_grown_something_is_left(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(FRAMES):
        picture(folder / f"{number}.png", number)
    camera = CameraConfig(1, str(folder))
    stored(data, camera)
    assert not continue_folder(setup(camera), data)
    picture(folder / "9.png", 9)
    assert continue_folder(setup(camera), data)


def test_a_camera_whose_attempts_all_failed_leaves_its_number_free(
    gate: CameraConfig, other: CameraConfig, data: Path
) -> None:
    cameras: Mapping[int, CameraConfig] = {1: gate}
    with DatabaseManager(data) as database:
        database.set_cameras(cameras)
        at = stamp(1, 0, session=recorded_session(gate))
        database.commit([(1, at.session, 0, End(at, "failed", "it is empty"))])
    assert continue_folder(setup(other), data)
