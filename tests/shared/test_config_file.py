"""A configuration file is read exactly, and every mistake in it is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.config import CameraConfig, Config, Homography
from shared.config_file import Setup, dump, is_recorded, load, load_settings
from shared.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "cameras.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str, *flags: str, **environment: str) -> Setup:
    return load(written(folder, text), environment=environment, flags=flags)


def test_a_file_gives_cameras_settings_and_addresses(tmp_path: Path) -> None:
    setup = read(
        tmp_path,
        """
cameras:
  1: {source: gate.mp4, name: Gate, start: 2026-05-01T12:00:00}
  2:
    source: rtsp://camera.example/2
    delivery: live
  7: {source: 0}
  9: {source: file:///videos/a.mp4}
  8: {source: pictures, fps: 12.5, start: "2026-05-01T14:00:00.5+02:00"}
confidence: 1e-1
batch_size: 4
device: cpu
endpoints: {control: "tcp://127.0.0.1:9999"}
""",
    )
    noon_ns = 1777636800 * 10**9
    assert setup.cameras == {
        1: CameraConfig(1, str(tmp_path / "gate.mp4"), "Gate", None, noon_ns),
        2: CameraConfig(2, "rtsp://camera.example/2", "", "live"),
        7: CameraConfig(7, "0"),
        9: CameraConfig(9, "/videos/a.mp4"),
        8: CameraConfig(8, str(tmp_path / "pictures"), start_ns=noon_ns + 500_000_000, fps=12.5),
    }
    assert (setup.config.confidence, setup.config.batch_size, setup.config.device) == (0.1, 4, "cpu")
    assert setup.addresses == {"control": "tcp://127.0.0.1:9999"}


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "cameras: {1: {source: a.mp4}}\nconfidence: 0.4\nbatch_size: 2\nwindow: 16\n"
    environment = {"TRACKING_SYSTEM_BATCH_SIZE": "3", "TRACKING_SYSTEM_WINDOW": "17"}
    config = read(tmp_path, text, "window=18", **environment).config
    assert (config.confidence, config.batch_size, config.window) == (0.4, 3, 18)


def test_settings_without_a_file_come_from_the_environment_and_flags() -> None:
    config = load_settings(environment={"TRACKING_SYSTEM_MODELS": "/m"}, flags=["threads=1"])
    assert (config.models, config.threads) == ("/m", 1)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings(environment={"TRACKING_SYSTEM_CONFIDENCE": ""}) == Config()


def test_a_misspelt_variable_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    load_settings(environment={"TRACKING_SYSTEM_CONFIDENSE": "0.5", "TRACKING_SYSTEM_VIDEO": "x"})
    assert "did you mean TRACKING_SYSTEM_CONFIDENCE?" in caplog.text


def test_a_variable_of_ours_that_is_no_setting_is_not_taken_for_a_misspelt_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    load_settings(environment={"TRACKING_SYSTEM_CACHE": "/tmp", "TRACKING_SYSTEM_VIDEO": "v.avi"})
    assert caplog.text == ""
    assert "VIDEO" not in caplog.text


def test_models_in_the_file_lie_beside_the_file(tmp_path: Path) -> None:
    setup = read(tmp_path, "cameras: {1: {source: ../a.mp4}}\nmodels: weights\n")
    assert setup.config.models == str(tmp_path / "weights")
    assert setup.cameras[1].source == str(tmp_path.parent / "a.mp4")


MISTAKES = {
    "unknown setting": (
        "cameras: {1: {source: a}}\nconfidense: 0.4\n",
        "cameras.yaml:2: unknown key 'confidense' — did you mean 'confidence'?",
    ),
    "unknown camera key": (
        "cameras:\n  1:\n    sorce: a\n",
        "cameras.yaml:3: camera 1: unknown key 'sorce' — did you mean 'source'?",
    ),
    "unlike anything": (
        "cameras: {1: {source: a}}\nqqq: 1\n",
        "cameras.yaml:2: unknown key 'qqq' — known are batch_size, batch_wait_ms,",
    ),
    "camera twice": (
        "cameras:\n  1: {source: a}\n  0x1: {source: b}\n",
        "cameras.yaml:3: '0x1' is there twice in cameras, first in line 2",
    ),
    "setting twice": (
        "cameras: {1: {source: a}}\nwindow: 8\nwindow: 9\n",
        "cameras.yaml:3: 'window' is there twice in the file, first in line 2",
    ),
    "id zero": (
        "cameras:\n  0: {source: a}\n",
        "cameras.yaml:2: a camera's id must be a whole number from 1",
    ),
    "id text": ("cameras:\n  gate: {source: a}\n", "cameras.yaml:2: a camera's id must be a whole number"),
    "id list": ("cameras:\n  [1]: {source: a}\n", "cameras.yaml:2: a key of cameras must be one word"),
    "no source": ("cameras:\n  1: {name: a}\n", "cameras.yaml:2: camera 1 has no 'source:'"),
    "nothing": ("cameras:\n  1:\n", "cameras.yaml:2: camera 1 has no 'source:'"),
    "empty source": ("cameras:\n  1: {source: }\n", "cameras.yaml:2: camera 1: source must be a file"),
    "source list": ("cameras:\n  1: {source: [a]}\n", "cameras.yaml:2: camera 1: source must be a text"),
    "bad delivery": (
        "cameras:\n  1:\n    source: a\n    delivery: fast\n",
        "cameras.yaml:4: camera 1: delivery must be live or recorded, not 'fast'",
    ),
    "bad start": (
        "cameras:\n  1: {source: a, start: noon}\n",
        "cameras.yaml:2: camera 1: start must be a time like",
    ),
    "old start": (
        "cameras:\n  1: {source: a, start: 1969-12-31}\n",
        "must lie between 1970 and the end of 2198",
    ),
    "late start": (
        "cameras:\n  1: {source: a, start: 2200-01-02}\n",
        "cameras.yaml:2: camera 1: start must lie between 1970 and the end of 2198",
    ),
    "id of 33 bits": (
        "cameras:\n  4294967296: {source: a}\n",
        "cameras.yaml:2: a camera's id must be a whole number from 1 to 2147483647, not 4294967296",
    ),
    "long name": (
        f"cameras:\n  1: {{source: a, name: {'x' * 201}}}\n",
        "cameras.yaml:2: camera 1: a camera's name must be a text of at most 200 letters",
    ),
    "name of two lines": (
        'cameras:\n  1: {source: a, name: "x\\ny"}\n',
        "cameras.yaml:2: camera 1: a camera's name must be one line",
    ),
    "slow fps": ("cameras:\n  1: {source: a, fps: 1e-300}\n", "camera 1: fps must be a number from 0.001"),
    "address without a key": (
        "cameras:\n  1: rtsp://admin:s3cret@h/1\n",
        "cameras.yaml:2: camera 1 must be keys with values, not 'rtsp://admin:***@h/1'",
    ),
    "bad homography": (
        "cameras:\n  1: {source: a, homography: [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}\n",
        "cameras.yaml:2: camera 1: homography must be three rows of three numbers that can be inverted",
    ),
    "bad fps": ("cameras:\n  1: {source: a, fps: .nan}\n", "cameras.yaml:2: camera 1: fps must be a number"),
    "wrong type": (
        "cameras: {1: {source: a}}\nconfidence: high\n",
        "cameras.yaml:2: confidence must be a number, not 'high'",
    ),
    "out of range": (
        "cameras: {1: {source: a}}\nconfidence: 7\n",
        "cameras.yaml:2: confidence must be at least 0.01 and at most 1",
    ),
    "setting as list": (
        "cameras: {1: {source: a}}\nwindow: [8]\n",
        "cameras.yaml:2: window must be one value, not a list",
    ),
    "unknown endpoint": (
        "cameras: {1: {source: a}}\nendpoints:\n  controll: tcp://a:1\n",
        "cameras.yaml:3: unknown endpoint",
    ),
    "bad address": (
        "cameras: {1: {source: a}}\nendpoints:\n  control: udp://a:1\n",
        "cameras.yaml:3: endpoint control",
    ),
    "no cameras": ("confidence: 0.4\n", "cameras.yaml: no cameras"),
    "cameras empty": ("cameras: {}\n", "cameras.yaml: no cameras"),
    "cameras a list": (
        "cameras:\n  - source: a\n",
        "cameras.yaml:2: cameras must be keys with values, not a list",
    ),
    "empty": ("# nothing\n", "cameras.yaml: the file is empty"),
    "a list": ("- a\n", "cameras.yaml:1: the file must be keys with values, not a list"),
    "not YAML": ("cameras: {1: {source: a}\n", "cameras.yaml:2: not YAML"),
    "a tab": ("cameras:\n\t1: a\n", "cameras.yaml:2: not YAML"),
    "control characters": ("cameras: \x00\n", "cameras.yaml: not YAML"),
    "too deep": ("[" * 100_000, "cameras.yaml: not YAML"),
    "two documents": ("cameras: {1: {source: a}}\n---\na: 1\n", "cameras.yaml:2: not YAML"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_error_with_file_line_and_what_is_allowed(tmp_path: Path, case: str) -> None:
    text, expected = MISTAKES[case]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("confidence", "expected name=value"),
        ("confidense=1", "did you mean 'confidence'"),
        ("confidence=high", "--set confidence=high: confidence must be a number"),
    ],
)
def test_a_wrong_flag_is_named(flag: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_settings(environment={}, flags=[flag])


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="TRACKING_SYSTEM_WINDOW: window must be a whole number"):
        load_settings(environment={"TRACKING_SYSTEM_WINDOW": "many"})


@pytest.mark.parametrize(
    ("source", "delivery", "recorded"),
    [
        ("/a.mp4", None, True),
        ("/a.mp4", "live", False),
        ("rtsp://a", None, False),
        ("http://a/b.mp4", "recorded", True),
        ("0", None, False),
    ],
)
def test_a_file_or_folder_is_recorded_and_a_camera_is_live(
    source: str, delivery: str, recorded: bool
) -> None:
    assert is_recorded(CameraConfig(1, source, delivery=delivery)) is recorded  # type: ignore[arg-type] # any text


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=NAMES,
    start_us=st.none() | st.integers(0, 4 * 10**15),
    fps=st.none() | st.floats(0.5, 1000),
    confidence=st.floats(0.01, 1.0),
    delivery=st.sampled_from([None, "live", "recorded"]),
    homography=st.none() | st.floats(0.5, 100).map(lambda v: (v, 0.0, -3.5, 0.1, v, 1e-9, 0.0, 0.001, 1.0)),
)
def test_what_is_written_reads_back_the_same(
    *,
    tmp_path: Path,
    name: str,
    start_us: int | None,
    fps: float | None,
    confidence: float,
    delivery: object,
    homography: Homography | None,
) -> None:
    start_ns = None if start_us is None else start_us * 1000
    cameras = {
        3: CameraConfig(3, str(tmp_path / "a.mp4"), name, delivery, start_ns, fps),  # type: ignore[arg-type] # any of the three
        2: CameraConfig(2, "rtsp://camera.example/?a=1#b", name, homography=homography),
    }
    setup = Setup(cameras, Config(confidence=confidence, models="/m"), {"frames": "tcp://127.0.0.1:1"})
    again = read(tmp_path, dump(setup))
    assert again == setup
    assert list(again.cameras) == [3, 2]
