"""Settings: their types, ranges and choices."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import CameraConfig, Config, about, checked, default_of, parsed, setting_names
from shared.errors import ConfigError


def test_every_setting_has_a_default_that_fits_and_a_sentence() -> None:
    for name in setting_names():
        assert checked(name, default_of(name)) == default_of(name)
        assert parsed(name, str(default_of(name))) == default_of(name)
        assert about(name)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("batch_size", "8", "batch_size must be a whole number, not '8'"),
        ("batch_size", 8.0, "batch_size must be a whole number, not 8.0"),
        ("batch_size", True, "batch_size must be a whole number, not True"),
        ("batch_size", 0, "batch_size must be at least 1 and at most 256, not 0"),
        ("batch_size", 257, "at most 256, not 257"),
        ("confidence", "0.5", "confidence must be a number"),
        ("confidence", True, "confidence must be a number"),
        ("confidence", None, "confidence must be a number"),
        ("confidence", 1.01, "confidence must be at least 0.01 and at most 1, not 1.01"),
        ("max_track_age", 10**400, "max_track_age must be"),
        ("family", "tensorflow", "family must be one of auto, torch, openvino, not 'tensorflow'"),
        ("family", 3, "family must be a text"),
        ("log_level", "", "log_level must be one of"),
        ("models", None, "models must be a text"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_that_says_what_would(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    assert said in str(caught.value)


@pytest.mark.parametrize("name", [name for name in setting_names() if isinstance(default_of(name), float)])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_no_number_may_be_infinite_absurd_or_none_at_all(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be"):
        checked(name, value)
    with pytest.raises(ConfigError, match=f"^{name} must be"):
        parsed(name, str(value))


def test_a_whole_number_will_do_for_a_number() -> None:
    value = Config(max_track_age=20).max_track_age
    assert (value, type(value)) == (20.0, float)


def test_a_device_may_be_anything_that_has_a_name() -> None:
    class Device:
        def __str__(self) -> str:
            return "cuda:1"

    assert Config(device=Device()).device == "cuda:1"  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", "1.5", "0x10", "9" * 5000, "1e3", "--1"])
def test_text_that_is_no_whole_number_is_an_error_that_names_the_setting(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^batch_size must be a whole number, not '"):
        parsed("batch_size", text)


@given(st.sampled_from(setting_names()), st.text(max_size=8) | st.floats().map(str) | st.integers().map(str))
def test_any_text_is_a_value_in_range_or_one_clear_error(name: str, text: str) -> None:
    try:
        value = parsed(name, text)
    except ConfigError as error:
        assert name in str(error)
    else:
        assert checked(name, value) == value


def test_a_camera_without_a_name_is_called_by_its_number() -> None:
    assert CameraConfig(3, "x.mp4").title == "camera 3"
    assert CameraConfig(3, "x.mp4", name="door").title == "door"
