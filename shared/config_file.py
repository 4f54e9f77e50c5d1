"""Reading a configuration: one YAML file, the environment over it, flags over both.

    cameras:
      1: {source: gate.mp4, name: Gate}
      2: {source: "rtsp://camera.example/2", delivery: live}
    confidence: 0.4                 # any setting of shared.config.Config
    endpoints: {control: "tcp://127.0.0.1:5562"}

Sources and `models` are relative to the folder of the file.  Every error names the file, the line, the
key and what is allowed there.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import yaml

from shared.config import (
    CameraConfig,
    Config,
    Delivery,
    Homography,
    checked,
    checked_camera_id,
    checked_camera_name,
    checked_homography,
    default_of,
    parsed,
    setting_names,
)
from shared.endpoints import Endpoints
from shared.errors import ConfigError
from shared.limits import LATEST_START_NS, MAX_CAMERAS, MAX_FPS, MIN_FPS
from shared.redaction import redacted
from shared.text import is_utf8

log = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "TRACKING_SYSTEM_"
OTHER_VARIABLES = frozenset(ENVIRONMENT_PREFIX + name for name in ("CACHE", "PROGRESS_FD", "VIDEO"))
"""Variables of ours that are no settings, and no misspelt ones either."""

CAMERA_KEYS = ("source", "name", "delivery", "start", "fps", "homography")
DELIVERIES = ("live", "recorded")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration that has been read and checked.

    cameras: by id, in the order of the file.  addresses: endpoints that the file sets, by name.
    """

    cameras: dict[int, CameraConfig]
    config: Config
    addresses: dict[str, str] = field(default_factory=dict)


def load(path: Path, *, environment: Mapping[str, str] = os.environ, flags: Sequence[str] = ()) -> Setup:
    """The cameras and settings of a file, with the environment and `name=value` flags over it.

    Raises ConfigError.
    """
    reader = _Reader(path)
    root = reader.root()
    cameras: dict[int, CameraConfig] = {}
    settings: dict[str, Any] = {}
    addresses: dict[str, str] = {}
    known = ("cameras", "endpoints", *setting_names())
    for key, key_node, node in reader.items(root, "the file"):
        if key == "cameras":
            cameras = reader.cameras(node)
        elif key == "endpoints":
            addresses = reader.addresses(node)
        elif key in known:
            settings[key] = reader.setting(key, node)
        else:
            raise reader.error(key_node, unknown("key", key, known))
    if not cameras:
        raise ConfigError(
            f"{path.name}: no cameras: add 'cameras:' with at least one, as in "
            "'cameras: {1: {source: gate.mp4}}'"
        )
    settings |= overrides(environment, flags)
    return Setup(cameras, Config(**settings), addresses)


def load_settings(*, environment: Mapping[str, str] = os.environ, flags: Sequence[str] = ()) -> Config:
    """The settings of a process without a file.  Raises ConfigError."""
    return Config(**overrides(environment, flags))


def overrides(environment: Mapping[str, str], flags: Sequence[str]) -> dict[str, Any]:
    """The settings in the environment and, over them, in `name=value` flags.  Raises ConfigError."""
    settings: dict[str, Any] = {}
    names = {ENVIRONMENT_PREFIX + name.upper(): name for name in setting_names()}
    for variable, text in environment.items():
        if variable in names:
            if text:
                settings[names[variable]] = _parsed(f"environment variable {variable}", names[variable], text)
        elif variable.startswith(ENVIRONMENT_PREFIX) and variable not in OTHER_VARIABLES:
            near = difflib.get_close_matches(variable, names, n=1, cutoff=0.9)
            if near:
                log.warning("environment variable %s is not used: did you mean %s?", variable, near[0])
    for flag in flags:
        name, equals, text = flag.partition("=")
        if not equals:
            raise ConfigError(f"--set {flag}: expected name=value, as in --set confidence=0.4")
        if name not in setting_names():
            raise ConfigError(f"--set {flag}: {unknown('setting', name, setting_names())}")
        settings[name] = _parsed(f"--set {flag}", name, text)
    return settings


def is_recorded(camera: CameraConfig) -> bool:
    """True where every frame counts and the end will come: what `delivery` says, else a file or folder."""
    if camera.delivery is not None:
        return camera.delivery == "recorded"
    return is_local(camera.source)


def is_local(source: str) -> bool:
    """True for a path on this machine, False for an address or a webcam's index."""
    return "://" not in source and not source.isdecimal()


def dump(setup: Setup, *, absolute: bool = True) -> str:
    """The configuration as a YAML text that `load` reads back to an equal one.

    absolute: sources with their whole paths, so that the file may lie anywhere; else as they are, for a
    file that lies beside them.
    """
    cameras: dict[int, dict[str, Any]] = {}
    for camera in setup.cameras.values():
        source = camera.source
        if absolute and is_local(source):
            source = str(Path(source).absolute())
        fields: dict[str, Any] = {"source": source, "name": camera.name, "delivery": camera.delivery}
        if camera.start_ns is not None:
            fields["start"] = (_EPOCH + timedelta(microseconds=camera.start_ns // 1000)).isoformat()
        fields["fps"] = camera.fps
        if camera.homography is not None:
            fields["homography"] = [list(camera.homography[row : row + 3]) for row in (0, 3, 6)]
        cameras[camera.id] = {key: value for key, value in fields.items() if value not in (None, "")}
    settings = {name: getattr(setup.config, name) for name in setting_names()}
    if settings["models"]:
        settings["models"] = str(Path(settings["models"]).absolute())
    endpoints = {"endpoints": setup.addresses} if setup.addresses else {}
    return yaml.safe_dump({"cameras": cameras, **endpoints, **settings}, sort_keys=False, allow_unicode=True)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The text of an error about a name that is none of the known ones."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown {kind} {name!r} — {hint}"


class _Reader:
    """One YAML file as nodes, which know their lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent.absolute()

    def error(self, node: yaml.Node, text: str) -> ConfigError:
        return ConfigError(f"{self._path.name}:{node.start_mark.line + 1}: {text}")

    def root(self) -> yaml.Node:
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}") from None
        try:
            node = yaml.compose(content, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise ConfigError(f"{self._path.name}{line}: not YAML: {error.problem}") from None
        except (yaml.YAMLError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{self._path.name}: not YAML: {reason}") from None
        if node is None:
            raise ConfigError(f"{self._path.name}: the file is empty: it needs at least 'cameras:'")
        return node

    def items(self, node: yaml.Node, what: str) -> Sequence[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a mapping, each as text, with its node and its value's; refuses a key given twice."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be keys with values, not {_described(node)}")
        seen: dict[Any, int] = {}
        found = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(key_node, f"a key of {what} must be one word, not {_described(key_node)}")
            value = self._scalar(key_node, "a key")
            if value in seen:
                raise self.error(
                    key_node, f"{key_node.value!r} is there twice in {what}, first in line {seen[value]}"
                )
            seen[value] = key_node.start_mark.line + 1
            found.append((str(value), key_node, value_node))
        return found

    def cameras(self, node: yaml.Node) -> dict[int, CameraConfig]:
        cameras: dict[int, CameraConfig] = {}
        for text, key_node, value_node in self.items(node, "cameras"):
            try:
                number = checked_camera_id(
                    int(text) if key_node.tag == "tag:yaml.org,2002:int" else key_node.value
                )
            except ConfigError as error:
                raise self.error(key_node, str(error)) from None
            if len(cameras) == MAX_CAMERAS:
                raise self.error(
                    key_node,
                    f"more than {MAX_CAMERAS} cameras: divide them among several configurations, each with "
                    "services of its own",
                )
            cameras[number] = self._camera(number, key_node, value_node)
        return cameras

    def _camera(self, number: int, key_node: yaml.Node, node: yaml.Node) -> CameraConfig:
        nodes = {}
        if isinstance(node, yaml.ScalarNode) and node.value == "":
            raise self.error(key_node, f"camera {number} has no 'source:'")
        for key, at, value in self.items(node, f"camera {number}"):
            if key not in CAMERA_KEYS:
                raise self.error(at, f"camera {number}: {unknown('key', key, CAMERA_KEYS)}")
            nodes[key] = value
        if "source" not in nodes:
            raise self.error(key_node, f"camera {number} has no 'source:'")
        delivery = (
            self._text(nodes["delivery"], f"camera {number}: delivery") if "delivery" in nodes else None
        )
        if delivery is not None and delivery not in DELIVERIES:
            raise self.error(
                nodes["delivery"], f"camera {number}: delivery must be live or recorded, not {delivery!r}"
            )
        return CameraConfig(
            id=number,
            source=self._source(number, nodes["source"]),
            name=self._name(number, nodes["name"]) if "name" in nodes else "",
            delivery=cast("Delivery | None", delivery),
            start_ns=self._start_ns(number, nodes["start"]) if "start" in nodes else None,
            fps=self._fps(number, nodes["fps"]) if "fps" in nodes else None,
            homography=self._homography(number, nodes["homography"]) if "homography" in nodes else None,
        )

    def _name(self, number: int, node: yaml.Node) -> str:
        try:
            return checked_camera_name(self._text(node, f"camera {number}: name"))
        except ConfigError as error:
            raise self.error(node, f"camera {number}: {error}") from None

    def addresses(self, node: yaml.Node) -> dict[str, str]:
        addresses = {}
        for name, key_node, value_node in self.items(node, "endpoints"):
            addresses[name] = self._text(value_node, f"endpoint {name}")
            try:
                Endpoints.network("", "", "").with_addresses({name: addresses[name]})
            except ConfigError as error:
                raise self.error(key_node, str(error)) from None
        return addresses

    def setting(self, name: str, node: yaml.Node) -> Any:
        value = self._scalar(node, name)
        try:
            if isinstance(node, yaml.ScalarNode) and (
                isinstance(default_of(name), str) or node.style is None
            ):
                # As it is written: `device: 0` is a text, and `1e-3` a number, which YAML 1.1 denies.
                value = parsed(name, node.value)
            else:
                value = checked(name, value)
        except ConfigError as error:
            raise self.error(node, str(error)) from None
        return self._path_text(value) if name == "models" and value else value

    def _source(self, number: int, node: yaml.Node) -> str:
        text = self._text(node, f"camera {number}: source")
        if not text:
            raise self.error(
                node, f"camera {number}: source must be a file, a folder, an address or a webcam's index"
            )
        if text.lower().startswith("file://"):
            text = text[len("file://") :]
        source = self._path_text(text) if is_local(text) else text
        if not is_utf8(source):
            raise self.error(
                node, f"camera {number}: source must be UTF-8, its folders too: rename what is not"
            )
        return source

    def _path_text(self, text: str) -> str:
        try:
            path = self._folder / Path(text).expanduser()
        except RuntimeError:  # no home of that user
            path = self._folder / text
        # normpath rather than resolve: a link that is later pointed elsewhere stays a link.
        return os.path.normpath(path)

    def _start_ns(self, number: int, node: yaml.Node) -> int:
        value = self._scalar(node, f"camera {number}: start")
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.replace("Z", "+00:00"))
            except ValueError:
                value = None
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        if not isinstance(value, datetime):
            shown = node.value if isinstance(node, yaml.ScalarNode) else _described(node)
            raise self.error(
                node,
                f"camera {number}: start must be a time like 2026-05-01T12:00:00 (UTC if no zone), "
                f"not {shown!r}",
            )
        if value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        start_ns = (value - _EPOCH) // timedelta(microseconds=1) * 1000
        if not 0 <= start_ns <= LATEST_START_NS:
            raise self.error(node, f"camera {number}: start must lie between 1970 and the end of 2198")
        return start_ns

    def _fps(self, number: int, node: yaml.Node) -> float:
        value = self._scalar(node, f"camera {number}: fps")
        # The comparison is written so that NaN fails it.
        if type(value) not in (int, float) or not MIN_FPS <= value <= MAX_FPS:
            raise self.error(
                node, f"camera {number}: fps must be a number from {MIN_FPS} to {MAX_FPS:g}, not {value!r}"
            )
        return float(value)

    def _homography(self, number: int, node: yaml.Node) -> Homography:
        try:
            return checked_homography(yaml.constructor.SafeConstructor().construct_document(node))
        except (yaml.YAMLError, ConfigError) as error:
            raise self.error(node, f"camera {number}: {error}") from None

    def _text(self, node: yaml.Node, what: str) -> str:
        """A scalar as it is written, so that a name may look like a number and a webcam be one."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{what} must be a text, not {_described(node)}")
        return str(node.value)

    def _scalar(self, node: yaml.Node, what: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{what} must be one value, not {_described(node)}")
        try:
            return yaml.constructor.SafeConstructor().construct_document(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            raise self.error(node, f"{what}: {node.value!r} cannot be read") from None


def _described(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "keys with values"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return repr(redacted(node.value)) if node.value else "nothing"


def _parsed(where: str, name: str, text: str) -> Any:
    try:
        return parsed(name, text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
