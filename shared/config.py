"""What can be set, in one flat table: a name, a default, a range, a sentence.

The same names work in the YAML file, as environment variables (`TRACKING_SYSTEM_` + upper case) and as
`--set name=value`; `shared.config_file` reads them.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from shared.errors import ConfigError
from shared.limits import MAX_CAMERA, MAX_NAME_LENGTH
from shared.text import is_utf8

Delivery = Literal["live", "recorded"]

Homography: TypeAlias = tuple[float, float, float, float, float, float, float, float, float]
"""A 3 x 3 matrix, row by row."""


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One camera.

    source: a file, an RTSP or HTTP address, a webcam index, or a folder of pictures.
    delivery: "recorded" (every frame once) or "live" (the newest frame wins); by default what the
        source is.
    start_ns: capture time of a recording's first frame, UTC nanoseconds; None where the configuration leaves
        it open.
    fps: frames a second of a picture folder, which does not know its own.
    homography: carries pixels to metres on a ground plane that all calibrated cameras share, row by row.
    """

    id: int
    source: str
    name: str = ""
    delivery: Delivery | None = None
    start_ns: int | None = None
    fps: float | None = None
    homography: Homography | None = None

    @property
    def title(self) -> str:
        """What an operator calls it."""
        return self.name or f"camera {self.id}"


def _setting(default: Any, about: str, *, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"about": about, "low": low, "high": high})


def _choice(default: str, about: str, *choices: str) -> Any:
    return field(default=default, metadata={"about": about, "choices": choices})


@dataclass(slots=True)
class Config:
    """Everything that can be set, with the defaults that a first run uses.

    Raises ConfigError where a value has the wrong type or lies outside its range.
    """

    device: str = _setting("auto", "where networks run: auto, cpu, cuda, cuda:1, ...")
    family: str = _choice(
        "auto",
        "which networks: torch (FasterRCNN, ResNet50; wants a GPU), openvino (small, for CPUs), auto",
        "auto",
        "torch",
        "openvino",
    )
    precision: str = _choice(
        "auto",
        "arithmetic of the torch family: auto (fp16 on a GPU, fp32 on a CPU), fp32, bf16, fp16",
        "auto",
        "fp32",
        "bf16",
        "fp16",
    )
    performance: str = _choice(
        "auto",
        "latency (one batch at once, each as fast as it can be), throughput (as many frames as can be), "
        "auto (latency while a camera is live, else throughput)",
        "auto",
        "latency",
        "throughput",
    )
    models: str = _setting("", "a folder with weights, looked into before the cache and the network")
    detector: str = _setting("", "the person detector's name (default: the family's best that is found)")
    embedder: str = _setting("", "the appearance network's name (default: the family's own)")
    faces: str = _choice(
        "off", "describe faces: off, auto (if the networks are on this machine), on", "off", "auto", "on"
    )
    clothing: str = _choice(
        "off", "describe clothing: off, auto (if the network is on this machine), on", "off", "auto", "on"
    )
    confidence: float = _setting(
        0.3, "people scored lower begin no track (from 0.1 on they still continue one)", low=0.01, high=1.0
    )
    input_size: int = _setting(
        0, "pixels of the shorter side of a picture in FasterRCNN (0: 800)", low=0, high=4096
    )
    duplicate_iou: float = _setting(
        0.5, "boxes that overlap more are one person, where the network leaves that open", low=0.05, high=1.0
    )
    person_label: int = _setting(
        -1, "the class to find (-1: what the network calls a person)", low=-1, high=1000
    )
    batch_size: int = _setting(8, "most frames in one batch of the detector", low=1, high=256)
    batch_wait_ms: float = _setting(10.0, "longest a frame waits for its batch to fill", low=0, high=1000)
    threads: int = _setting(0, "threads of the detector (0: one a core)", low=0, high=256)

    target_fps: int = _setting(30, "most frames a second taken from a live camera", low=1, high=240)
    buffer_size: int = _setting(16, "frames buffered between capture and sending", low=1, high=1024)
    jpeg_quality: int = _setting(90, "JPEG quality of the frames that are sent", low=10, high=100)
    watchdog_s: float = _setting(5.0, "a live camera silent this long is reconnected", low=0.5, high=600)

    similarity_threshold: float = _setting(
        0.75, "appearance similarity above which two sightings may be one person", low=0.0, high=1.0
    )
    max_track_age: float = _setting(
        15.0, "seconds a lost person is looked for in the same camera", low=0.1, high=86_400
    )
    live_wait_ms: float = _setting(
        150.0, "longest a live camera is waited for by the others", low=0, high=60_000
    )

    window: int = _setting(64, "frames of a recorded camera on their way at once", low=8, high=4096)
    outbox: int = _setting(
        2000, "updates a live tracker keeps while the store is away", low=1, high=1_000_000
    )
    retention_days: float = _setting(0.0, "history older than this is erased (0: kept)", low=0, high=36_500)

    log_level: str = _choice("info", "what the log tells", "debug", "info", "warning", "error")
    report_every_s: float = _setting(10.0, "seconds between a process's readings", low=0.5, high=86_400)

    def __post_init__(self) -> None:
        self.device = str(self.device)  # a torch.device is welcome
        for each in fields(self):
            setattr(self, each.name, checked(each.name, getattr(self, each.name)))


_FIELDS = {each.name: each for each in fields(Config)}


def checked_homography(value: Any) -> Homography:
    """Nine numbers, or three rows of three, as a homography; raises ConfigError where they are none."""
    try:
        matrix = np.array(value, np.float64).reshape(3, 3)
        sound = bool(np.isfinite(matrix).all()) and int(np.linalg.matrix_rank(matrix)) == 3
    except (ValueError, TypeError, OverflowError):
        sound = False
    if not sound:
        raise ConfigError(
            "homography must be three rows of three numbers that can be inverted, as in "
            "[[0.01, 0, -3], [0, 0.02, -8], [0, 0.001, 1]]"
        )
    return cast("Homography", tuple(matrix.ravel().tolist()))


def checked_camera_id(value: Any) -> int:
    """A camera's id; raises ConfigError where it is none."""
    if type(value) is not int or not 1 <= value <= MAX_CAMERA:
        raise ConfigError(f"a camera's id must be a whole number from 1 to {MAX_CAMERA}, not {value!r}")
    return value


def checked_camera_name(value: Any) -> str:
    """What a camera is called; raises ConfigError where it is too long or more than one line."""
    if not isinstance(value, str) or len(value) > MAX_NAME_LENGTH:
        raise ConfigError(f"a camera's name must be a text of at most {MAX_NAME_LENGTH} letters")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise ConfigError("a camera's name must be one line without control characters")
    if not is_utf8(value):
        raise ConfigError(f"a camera's name must be text that UTF-8 can write, not {value!r}")
    return value


def setting_names() -> list[str]:
    """The names of all settings, in the order of the table."""
    return list(_FIELDS)


def about(name: str) -> str:
    """The sentence that tells what a setting does."""
    return str(_FIELDS[name].metadata["about"])


def default_of(name: str) -> Any:
    """The value a setting has when nobody sets it."""
    return _FIELDS[name].default


def checked(name: str, value: Any) -> Any:
    """The value in the setting's own type; raises ConfigError where it does not fit."""
    each = _FIELDS[name]
    kind = type(default_of(name))
    if kind is float and type(value) is int and abs(value) < 1 << 53:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ConfigError(f"{name} must be {_kind_name(kind)}, not {value!r}")
    choices = each.metadata.get("choices")
    if choices and value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    low, high = each.metadata.get("low"), each.metadata.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = " and ".join(
            [f"at least {low:g}"] * (low is not None) + [f"at most {high:g}"] * (high is not None)
        )
        raise ConfigError(f"{name} must be {bounds}, not {value!r}")
    return value


def parsed(name: str, text: str) -> Any:
    """A setting from text, as in an environment variable or a flag."""
    kind: type[int] | type[float] | type[str] = type(default_of(name))
    try:
        value = kind(text)
    except ValueError:
        raise ConfigError(f"{name} must be {_kind_name(kind)}, not {text!r}") from None
    return checked(name, value)


def _kind_name(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text"}[kind]
