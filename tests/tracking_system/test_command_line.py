"""The command `tracking-system`: what it prints, and how it ends."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.ingest.recording import recorded_session
from services.store.database import DatabaseManager
from shared.config import CameraConfig
from shared.endpoints import Endpoints
from shared.messages import End, FrameStamp, IdentityEvent, Report, Tracks
from tests.tracking_system.plaza import command, tracking_system
from tracking_system.__main__ import COMMANDS, main
from tracking_system.commands.arguments import add_hosts, endpoints

START_NS = 1_714_564_800 * 10**9  # 2024-05-01 12:00:00
STEP_NS = 10**8
FRAMES = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A stored run: Ada walks through camera 1, a recording, and then through camera 2, which was live."""
    folder = tmp_path / "data"
    video = tmp_path / "gate.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    for _ in range(FRAMES):
        writer.write(np.full((120, 160, 3), 90, np.uint8))
    writer.release()
    gate = CameraConfig(1, str(video), "Gate", start_ns=START_NS)
    hall = CameraConfig(2, "rtsp://user:secret@camera.example/2", "Hall", delivery="live")
    with DatabaseManager(folder) as database:
        database.set_cameras({1: gate, 2: hall})
        for camera, session, first in ((1, recorded_session(gate), 0), (2, 5, FRAMES)):
            for index in range(FRAMES):
                t_ns = START_NS + (first + index) * STEP_NS
                stamp = FrameStamp(camera, session, index, t_ns, 160, 120)
                database.commit([(camera, session, index, tracks(stamp, camera))])
            database.commit([(camera, session, FRAMES, End(stamp, "finished", frames=FRAMES))])
        event = IdentityEvent(7, "name", START_NS, "Ada")
        report = Report(
            "ingest", 2, "host", 4711, START_NS, "running", {"cpu_percent": 12.0, "rss_bytes": 2.0**20}
        )
        database.commit([(0, 1, 0, event), (0, 1, 1, IdentityEvent(7, "follow", START_NS))])
        database.keep_reports([report])
    return folder


def tracks(stamp: FrameStamp, track: int) -> Tracks:
    x = 5.0 * stamp.frame_index
    return Tracks(
        stamp=stamp,
        track_ids=np.array([track], np.int64),
        identity_ids=np.array([7], np.int64),
        boxes=np.array([[x, 10, x + 30, 100]], np.float32),
        scores=np.array([0.9], np.float32),
        observed=np.array([True]),
        velocities=np.zeros((1, 2), np.float32),
        paths=np.zeros((1, 10, 2), np.float32),
        assignments=np.empty((0, 2), np.int64),
    )


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line of a command that is refused."""
    assert main([str(word) for word in words]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    return errors


# -- help ------------------------------------------------------------------------------------------


def test_help_names_every_command_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n    {name}" in text
    assert "tracking-system run cameras.yaml" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text
    assert f"tracking-system {name}" in text


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("tracking-system 0.")


def test_an_ingest_loads_no_network_runtime() -> None:
    code = (
        "import sys, tracking_system.__main__ as m; m._parser(['ingest']); import services.ingest.service;"
        "print([name for name in ('openvino', 'torch', 'scipy', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- questions about a stored run ------------------------------------------------------------------


def test_last_seen_tells_who_was_where(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everybody = printed(capsys, "last-seen", data)
    assert "7 Ada" in everybody
    assert everybody.index("Gate") < everybody.index("Hall")
    one = printed(capsys, "last-seen", data, "7")
    assert (
        one.splitlines()[0] == "person 7 (Ada) was last seen in Hall at 2024-05-01 12:00:02.3, at (70, 100)"
    )
    assert "Gate: 2024-05-01 12:00:00.0 to 2024-05-01 12:00:01.1" in one
    assert printed(capsys, "last-seen", "7", "--data", data) == one


def test_last_seen_of_nobody_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "person 8 was never seen" in refused(capsys, "last-seen", data, "8")
    assert "one folder and one number" in refused(capsys, "last-seen", data, "elsewhere", "8")


@pytest.mark.parametrize("name", ["last-seen", "stats", "replay"])
def test_a_folder_without_a_run_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(tmp_path) in refused(capsys, name, tmp_path)


def test_stats_tells_cameras_and_processes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "stats", data)
    assert "1 people, 24 observations in 24 frames of 2 cameras" in text
    assert "Gate    finished  12      10.0" in text
    assert "ingest 2  host  4711  running" in text
    assert "12 %  1 MiB" in text


@pytest.mark.parametrize(
    ("file_format", "names"),
    [("mot", ["cam1.txt", "cam2.txt"]), ("csv", ["observations.csv"]), ("json", ["people.json"])],
)
def test_export_writes_files_and_names_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file_format: str, names: list[str]
) -> None:
    out = tmp_path / "out"
    text = printed(capsys, "export", data, "--format", file_format, "--out", out)
    assert text.splitlines() == [str(out / name) for name in names]
    if file_format == "json":
        assert json.loads((out / "people.json").read_text())["people"][0]["name"] == "Ada"


def test_an_online_export_of_what_is_only_settled_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, "export", data, "--format", "mot", "--online", "--out", tmp_path / "live")
    assert main(["export", str(data), "--format", "json", "--online", "--out", str(tmp_path / "out")]) == 2
    assert "json cannot be exported online" in capsys.readouterr().err


def test_export_to_an_unknown_format_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", str(data), "--format", "xml", "--out", "x"])
    assert "invalid choice: 'xml'" in capsys.readouterr().err


def test_a_replay_is_recorded_with_pictures_where_there_are_any(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "replay.mp4"
    assert f"{video}: 2" in printed(capsys, "replay", data, "--record", video)
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(2 * FRAMES, abs=1)
    capture.release()


def test_a_replay_without_its_recording_says_so_and_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gate.avi").unlink()
    assert main(["replay", str(data), "--record", str(tmp_path / "replay.mp4")]) == 0
    assert "gate.avi does not exist" in capsys.readouterr().err


def test_a_replay_at_no_speed_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--speed must be above 0" in refused(capsys, "replay", data, "--speed", "0")


def test_a_reader_that_has_enough_ends_the_command_quietly(data: Path) -> None:
    with subprocess.Popen(
        command("last-seen", data), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait() == 0
    assert errors == ""


# -- decisions, and services -----------------------------------------------------------------------


def test_following_without_a_running_system_is_refused(tmp_path: Path) -> None:
    done = tracking_system("follow", "7", "--data", tmp_path)
    assert done.returncode == 2
    assert "is it running?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_names_what_is_wrong_with_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "cameras.yaml"
    config.write_text("cameras: {1: {source: a.mp4}}\nconfidense: 1\n")
    assert "cameras.yaml:2: unknown key 'confidense'" in refused(capsys, "tracker", "--config", config)
    config.write_text("cameras: {1: {source: a.mp4}}\n")
    words = ("ingest", "--config", config, "--camera", "2")
    assert "there is no camera 2; known are 1" in refused(capsys, *words)
    assert "--models nowhere: there is no such folder" in refused(
        capsys, "store", "--config", config, "--models", "nowhere"
    )


def hosts(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_hosts(parser)
    return parser.parse_args(words)


def test_services_meet_in_the_data_folder_unless_a_host_is_named(tmp_path: Path) -> None:
    assert endpoints(hosts(), tmp_path) == Endpoints.local(tmp_path)
    assert endpoints(hosts("--detector-host", "gpu"), tmp_path) == Endpoints.network("gpu", "gpu", "gpu")
    several = hosts("--tracker-host", "hub", "--store-host", "disk")
    assert endpoints(several, tmp_path) == Endpoints.network("hub", "hub", "disk")


# -- weights ---------------------------------------------------------------------------------------


@pytest.mark.data
def test_models_are_listed_with_their_place(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "models", "list", "--models", shared_data / "models").splitlines()
    (detector,) = (line for line in lines if line.startswith("person-detection-0200 "))
    assert "your folder" in detector
    (torch,) = (line for line in lines if line.startswith("resnet50 "))
    assert "not here" in torch or "the cache" in torch


@pytest.mark.data
def test_models_that_are_there_are_not_fetched(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = shared_data / "models"
    text = printed(capsys, "models", "pull", "--models", models, "--set", "family=openvino")
    assert [line.split(":")[0] for line in text.splitlines()] == [
        "person-detection-0202",
        "person-reidentification-retail-0287",
    ]
    assert str(models) in text


def test_an_unknown_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown network 'nothing'" in refused(capsys, "models", "pull", "nothing", "--models", tmp_path)
