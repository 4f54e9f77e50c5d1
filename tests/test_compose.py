"""The container files agree with the program, and where there is a Docker daemon, they run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from services.store.history import History
from services.store.statistics import statistics
from shared.endpoints import TCP_PORTS, Endpoints
from tracking_system.__main__ import _parser
from tracking_system.commands.arguments import endpoints

ROOT = Path(__file__).resolve().parents[1]
HUBS = ("detector", "tracker", "store")
IMAGE = "tracking-system:test"
FRAMES = 24


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(_text("docker-compose.yml"))["services"]
    return services


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _hub_addresses(hub: str) -> set[str]:
    """Names of the addresses that a hub binds."""
    here = Endpoints.network(**{name: "here" if name == hub else "elsewhere" for name in HUBS})
    return {name for name in TCP_PORTS if "//here:" in getattr(here, name)}


def test_all_five_services_are_there_with_an_ingest_a_camera(services: dict[str, dict[str, Any]]) -> None:
    commands = [shlex.split(service["command"])[0] for service in services.values()]
    assert set(commands) == {"ingest", "detector", "tracker", "store", "viewer"}
    cameras = [
        shlex.split(service["command"])[-3] for name, service in services.items() if name.startswith("ingest")
    ]
    assert cameras == ["1", "2"]
    assert [name for name in services if name.startswith("ingest")] == ["ingest-1", "ingest-2"]


def test_every_command_is_accepted_by_the_command_line(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        words = shlex.split(service["command"])
        assert _parser(words).parse_args(words).command == words[0]


def test_every_service_connects_to_services_that_are_there(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        words = shlex.split(service["command"])
        arguments = _parser(words).parse_args(words)
        for hub in HUBS:
            host = getattr(arguments, f"{hub}_host")
            assert host in (None, "0.0.0.0" if hub == name else hub), f"{name}: {hub} is at {host}"
        found = endpoints(arguments, arguments.data)
        bound = {each for each in TCP_PORTS if "//0.0.0.0:" in getattr(found, each)}
        assert bound >= (_hub_addresses(name) if name in HUBS else set())


def test_the_ports_are_those_of_the_program(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        published = [port.split("}:")[1] for port in service.get("ports", [])]
        bound = sorted(TCP_PORTS[each] for each in _hub_addresses(name)) if name in HUBS else []
        assert published == [f"{port}:{port}" for port in bound]


def test_the_ports_are_open_to_nobody_else_by_default(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == len(TCP_PORTS)
    assert all(port.startswith("${LISTEN:-127.0.0.1}:") for port in ports)


def test_every_hub_is_asked_at_a_port_of_its_own_whether_it_is_well(
    services: dict[str, dict[str, Any]],
) -> None:
    for hub in HUBS:
        (port,) = re.findall(r"/dev/tcp/127.0.0.1/(\d+)", services[hub]["healthcheck"]["test"][-1])
        assert int(port) in {TCP_PORTS[each] for each in _hub_addresses(hub)}


def test_a_finished_recording_is_not_started_again_and_a_hub_is(services: dict[str, dict[str, Any]]) -> None:
    assert {services[hub]["restart"] for hub in HUBS} == {"unless-stopped"}
    others = [name for name in services if name.startswith("ingest")] + ["viewer"]
    assert {services[name]["restart"] for name in others} == {"on-failure"}


def test_one_configuration_is_mounted_for_all(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert "${CONFIG:-./cameras.yaml}:/config/cameras.yaml:ro" in service["volumes"]
        assert "${DATA:-data}:/data" in service["volumes"]


def test_every_variable_is_documented_with_its_default() -> None:
    documented = dict(
        re.findall(r"^\| `([A-Z_]+)` \|.*\| `(.*)` \|$", _text("docs/deployment.md"), re.MULTILINE)
    )
    used = dict(re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", _text("docker-compose.yml")))
    assert documented == {name: used[name] for name in used if name not in ("DISPLAY", "IMAGE")}


def test_the_image_runs_as_a_user_and_installs_extras_that_exist() -> None:
    dockerfile = _text("Dockerfile")
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["tracking"]
    extras = set(re.findall(r"^(\w+) = \[", _text("pyproject.toml"), re.MULTILINE))
    shown = re.findall(r"EXTRAS=(\w+)", dockerfile)
    assert {"openvino", "torch"} <= set(shown) <= extras


def test_every_package_gets_into_the_image() -> None:
    let_through = re.findall(r"^!(.*?)/?$", _text(".dockerignore"), re.MULTILINE)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages | {"pyproject.toml", "README.md", "LICENSE"} == set(let_through)


# -- run for real -----------------------------------------------------------------------------------


def _run(*words: str, timeout_s: float = 60, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def _answers(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture
def compose() -> list[str]:
    """The words that call Compose, where it and a Docker daemon are there."""
    if not _answers("docker", "info"):
        pytest.skip("no Docker daemon answers here")
    base = "debian:bookworm-slim"
    if not _answers("docker", "image", "inspect", base) and not _answers("docker", "pull", base):
        pytest.skip(f"the image {base} is not here and cannot be pulled")
    if _answers("docker", "compose", "version"):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("Compose is not installed")


@pytest.fixture
def environment(shared_data: Path, tmp_path: Path) -> dict[str, str]:
    """Two short recordings, their configuration, weights, and an empty folder for the data."""
    source = shared_data / "data" / "video" / "one-by-one-person-detection.mp4"
    (tmp_path / "videos").mkdir()
    (tmp_path / "data").mkdir()
    for camera, first in ((1, 240), (2, 1000)):
        _cut(source, tmp_path / "videos" / f"cam{camera}.mp4", first)
    (tmp_path / "cameras.yaml").write_text(
        "cameras:\n  1: {source: /videos/cam1.mp4}\n  2: {source: /videos/cam2.mp4}\n", encoding="utf-8"
    )
    return {
        "CONFIG": str(tmp_path / "cameras.yaml"),
        "VIDEOS": str(tmp_path / "videos"),
        "MODELS": str(shared_data / "models"),
        "DATA": str(tmp_path / "data"),
        "USER_ID": f"{os.getuid()}:{os.getgid()}",
        "LISTEN": "127.0.0.77",
        "IMAGE": IMAGE,
        "COMPOSE_PROJECT_NAME": f"tracking-system-test-{os.getpid()}",
    }


def _cut(source: Path, target: Path, first: int) -> None:
    capture = cv2.VideoCapture(str(source))
    capture.set(cv2.CAP_PROP_POS_FRAMES, first)
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size)
    for _ in range(FRAMES):
        read, frame = capture.read()
        assert read
        writer.write(frame)
    writer.release()
    capture.release()


@pytest.fixture
def started(compose: list[str], environment: dict[str, str]) -> Iterator[list[str]]:
    _run("docker", "build", "--network", "host", "--tag", IMAGE, ".", timeout_s=800)
    try:
        _run(*compose, "up", "-d", "--no-build", timeout_s=120, environment=environment)
        yield compose
    finally:
        subprocess.run(
            [*compose, "down", "--volumes"],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            timeout=180,
            check=False,
        )


@pytest.mark.data
@pytest.mark.timeout(1200)
def test_two_recordings_run_through_five_services_in_containers(
    started: list[str], environment: dict[str, str]
) -> None:
    ended = [_container(environment, service) for service in ("ingest-1", "ingest-2", "viewer")]
    codes = _run("docker", "wait", *ended, timeout_s=180)
    assert codes.split() == ["0", "0", "0"]
    with History(Path(environment["DATA"])) as history:
        numbers = statistics(history)
    assert [(camera.frames, camera.missing, camera.ended) for camera in numbers.cameras] == [
        (FRAMES, 0, "finished")
    ] * 2
    assert numbers.people >= 1
    assert (Path(environment["DATA"]) / "mosaic.mp4").stat().st_size > 0
    said = _run(
        *started, "exec", "-T", "store", "tracking-system", "last-seen", "/data", environment=environment
    )
    assert "last seen" in said


def _container(environment: dict[str, str], service: str) -> str:
    labels = {"project": environment["COMPOSE_PROJECT_NAME"], "service": service}
    filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
    return _run("docker", "ps", "--all", "--quiet", *filters).strip()
