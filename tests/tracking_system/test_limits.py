"""Numbers, names and paths beyond what the system can carry are one clear error where they enter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.store.database import DatabaseManager
from shared.config import checked_camera_id, checked_camera_name
from shared.errors import ConfigError, SourceError
from shared.limits import MAX_CAMERA, MAX_T_NS
from tests.detector.test_service import sees_nobody
from tests.ingest.test_files import video
from tracking_system import MultiCameraTracker
from tracking_system.__main__ import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    video(tmp_path / "gate.avi", 2)
    path = tmp_path / "cameras.yaml"
    path.write_text("cameras: {1: {source: gate.avi}}\n")
    return path


def error_of(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(each) for each in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("number", [0, -1, MAX_CAMERA + 1, True, 1.0, "1", None])
def test_a_camera_id_outside_its_range_is_refused(number: object) -> None:
    with pytest.raises(ConfigError, match="a whole number from 1 to 2147483647"):
        checked_camera_id(number)
    assert checked_camera_id(MAX_CAMERA) == MAX_CAMERA


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x1b[31m", 5])
def test_a_camera_name_that_cannot_be_shown_is_refused(name: object) -> None:
    with pytest.raises(ConfigError, match="a camera's name must be"):
        checked_camera_name(name)
    assert checked_camera_name("Gate \u00e9 \u4e2d\u6587") == "Gate \u00e9 \u4e2d\u6587"


def test_the_library_checks_ids_and_names_as_the_configuration_does() -> None:
    with MultiCameraTracker(extractor=sees_nobody()) as tracker:
        with pytest.raises(ConfigError, match="from 1 to 2147483647"):
            tracker.register_camera(2**31)
        with pytest.raises(ConfigError, match="at most 200 letters"):
            tracker.register_camera(1, "x" * 201)
        tracker.register_camera(1)
        with pytest.raises(SourceError, match="before 2200"):
            tracker.process_frame(np.zeros((48, 64, 3), np.uint8), 1, t_ns=MAX_T_NS + 1)


def test_a_source_that_is_too_long_is_one_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"cameras: {{1: {{source: {'x' * 5000}}}}}\n")
    assert "cannot be read (File name too long)" in error_of(capsys, "run", path, "--headless")


@pytest.mark.parametrize("flag", ["--data", "--record", "--models"])
def test_a_path_on_the_command_line_that_is_too_long_is_one_error(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path, flag: str
) -> None:
    long = f"{tmp_path}/{'y' * 5000}/x.mp4"
    # The last of two counts.
    error = error_of(capsys, "run", config, "--headless", "--data", tmp_path / "data", flag, long)
    assert "File name too long" in error


def test_an_identity_of_more_than_64_bits_is_one_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    DatabaseManager(tmp_path).close()
    assert "more than 64 bits" in error_of(capsys, "last-seen", tmp_path, "9" * 30)


def test_a_password_in_a_source_without_its_scheme_is_not_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text("cameras: {1: {source: 'admin:s3/cr@et@10.0.0.5/1'}}\n")
    error = error_of(capsys, "run", path, "--headless")
    assert "admin:***@10.0.0.5/1 does not exist" in error
