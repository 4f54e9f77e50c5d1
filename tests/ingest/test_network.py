"""Real network cameras: an RTSP server that dies, freezes and returns, and addresses that never answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.ingest.capture import NetworkSource
from services.ingest.stream import CapturedFrame, VideoStream
from shared.config import CameraConfig, Config
from shared.errors import SourceError
from shared.redaction import redacted
from tests.ingest.rtsp_server import RtspServer, free_port
from tests.ingest.test_files import number_in, video


@pytest.fixture(scope="module")
def camera() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


def frame_of(stream: VideoStream, timeout_s: float = 15.0) -> CapturedFrame:
    frame = stream.read(timeout_s)
    assert frame is not None, f"no frame within {timeout_s} s"
    return frame


def wait_until_lost(stream: VideoStream) -> None:
    deadline_s = time.monotonic() + 15
    while stream.stats.state == "streaming":
        assert time.monotonic() < deadline_s, "the loss was not noticed"
        frame = stream.read(0.05)
        if frame is not None:
            frame.release()


@contextmanager
def silent_listener() -> Iterator[int]:
    """A port that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    accepted.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in accepted:
            each.close()


def test_a_camera_that_dies_and_returns_is_streaming_again_within_five_seconds(camera: RtspServer) -> None:
    with VideoStream(CameraConfig(1, camera.url), Config(watchdog_s=2.0)) as stream:
        first = frame_of(stream)
        assert first.image.shape == (240, 320, 3)
        assert abs(time.time_ns() - first.t_ns) < 10**9
        camera.stop()
        wait_until_lost(stream)
        while stream.read(0.0) is not None:
            pass
        # Long enough away for the longest pause between attempts.
        assert stream.read(3.6) is None
        assert stream.stats.state == "lost"
        camera.start()
        back_s = time.monotonic()
        again = frame_of(stream)
        assert time.monotonic() - back_s < 5.0
        assert again.t_ns > first.t_ns and again.index > first.index
        assert (stream.stats.state, stream.stats.reconnects) == ("streaming", 1)


def test_a_camera_that_falls_silent_is_noticed_and_found_again(camera: RtspServer) -> None:
    with VideoStream(CameraConfig(1, camera.url), Config(watchdog_s=1.0)) as stream:
        frame_of(stream)
        camera.freeze()
        try:
            wait_until_lost(stream)
            while stream.read(0.0) is not None:
                pass
        finally:
            camera.thaw()
        frame_of(stream)
        assert stream.stats.reconnects == 1


def test_an_address_that_accepts_and_stays_silent_does_not_delay_stop_or_another_camera(
    camera: RtspServer,
) -> None:
    with silent_listener() as port:
        silent = VideoStream(CameraConfig(1, f"rtsp://127.0.0.1:{port}/x"), Config())
        silent.start()
        with VideoStream(CameraConfig(2, camera.url), Config()) as other:
            frame_of(other)
        assert silent.read(0.0) is None and silent.stats.state == "connecting"
        begin_s = time.monotonic()
        assert silent.stop(), "no thread is left in FFmpeg"
        assert time.monotonic() - begin_s < 1.0


def test_a_file_is_served_over_and_over(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", frames=20)
    with RtspServer(path) as server, VideoStream(CameraConfig(1, server.url), Config()) as stream:
        seen = [number_in(frame_of(stream).image) for _ in range(25)]
        assert set(seen) <= set(range(20)) and len(set(seen)) < len(seen)


def test_stop_does_not_wait_for_a_camera_that_is_frozen(camera: RtspServer) -> None:
    stream = VideoStream(CameraConfig(1, camera.url), Config(watchdog_s=30.0))
    stream.start()
    frame_of(stream)
    camera.freeze()
    try:
        while stream.read(0.3) is not None:
            pass
        begin_s = time.monotonic()
        assert stream.stop(), "no thread is left in FFmpeg"
        assert time.monotonic() - begin_s < 1.0
    finally:
        camera.thaw()


def test_a_process_ends_cleanly_although_its_camera_never_answers() -> None:
    program = (
        "import sys; from shared.config import CameraConfig, Config\n"
        "from services.ingest.stream import VideoStream\n"
        "stream = VideoStream(CameraConfig(1, sys.argv[1]), Config())\n"
        "stream.start(); stream.read(0.5); stream.stop()\n"
    )
    with silent_listener() as port:
        address = f"rtsp://127.0.0.1:{port}/x"
        assert (
            subprocess.run([sys.executable, "-c", program, address], check=False, timeout=30).returncode == 0
        )


def test_a_closed_port_is_tried_again_and_again_while_stop_returns_at_once() -> None:
    stream = VideoStream(CameraConfig(1, f"rtsp://127.0.0.1:{free_port()}/x"), Config())
    stream.start()
    assert stream.read(1.2) is None
    assert (stream.stats.state, stream.ended) == ("lost", False)
    begin_s = time.monotonic()
    assert stream.stop()
    assert time.monotonic() - begin_s < 1.0


def refusal(address: str, *, knock: bool = True) -> str:
    source = NetworkSource(address, read_timeout_s=1.0, knock=knock)
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    return str(caught.value)


@pytest.mark.parametrize("knock", [False, True])
def test_a_closed_port_is_named_as_the_reason(knock: bool) -> None:
    port = free_port()
    assert f"127.0.0.1 port {port}: connection refused" in refusal(f"rtsp://127.0.0.1:{port}/x", knock=knock)


def test_an_unknown_name_is_named_as_the_reason() -> None:
    assert "the name camera.invalid is not known" in refusal("rtsp://camera.invalid/x")


def test_an_impossible_port_is_named_as_the_reason() -> None:
    assert "impossible port" in refusal("rtsp://u:secret@127.0.0.1:99999/x")


def test_a_path_the_camera_does_not_know_is_named_as_the_reason(camera: RtspServer) -> None:
    assert "it answers but gives no video" in refusal(camera.url + "-no-such-path")


def test_a_password_in_an_address_is_not_shown() -> None:
    assert redacted("rtsp://admin:p4ss@10.0.0.1/x?a=b") == "rtsp://admin:***@10.0.0.1/x?a=b"
    assert redacted("rtsp://10.0.0.1/x:y") == "rtsp://10.0.0.1/x:y"
    assert "secret" not in refusal("rtsp://u:secret@127.0.0.1:99999/x")


def test_what_the_user_has_set_for_ffmpeg_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    refusal(f"rtsp://127.0.0.1:{free_port()}/x")
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;udp"
