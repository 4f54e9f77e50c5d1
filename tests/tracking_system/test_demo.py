"""The demonstration: where the video comes from, how it is cut, and the whole of it on a few frames."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import DownloadError, SourceError, StorageError
from tests.tracking_system.plaza import record, tracking_system
from tracking_system.demo import sample_video as sample
from tracking_system.demo.sample_video import sample_video
from tracking_system.demo.scene import PLAZA, Window, cut

CONTENT = b"a video " * 1000
NOWHERE = "http://127.0.0.1:9/vtest.avi"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(sample.FOLDER_VARIABLE, raising=False)
    return tmp_path / "cache" / "video" / sample.NAME


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small content in the place of the video."""
    monkeypatch.setattr(sample, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(sample, "BYTES", len(CONTENT))


@pytest.fixture
def address() -> Iterator[str]:
    """A server that has the content."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/vtest.avi"
        server.shutdown()


def fake_apt(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Programs named apt-get and dpkg that hand out a package with this content; None: there is none."""
    programs = folder / "programs"
    programs.mkdir()
    tree = folder / "tree/usr/share/doc/opencv-doc/examples/data"
    tree.mkdir(parents=True)
    (tree / sample.NAME).write_bytes(content or b"")
    apt = "#!/bin/sh\nexit 100\n" if content is None else "#!/bin/sh\necho package > opencv-doc_1_all.deb\n"
    (programs / "apt-get").write_text(apt)
    (programs / "dpkg").write_text(f"#!/bin/sh\nexec tar -C {folder / 'tree'} -cf - .\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


def test_the_users_own_video_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.mp4"
    own.touch()
    assert sample_video(own) == own
    (tmp_path / sample.NAME).touch()
    monkeypatch.setenv(sample.FOLDER_VARIABLE, str(tmp_path))
    assert sample_video() == tmp_path / sample.NAME
    assert sample_video(own) == own


def test_a_video_that_the_user_names_and_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="there is no video"):
        sample_video(tmp_path / "none.avi")


@pytest.mark.usefixtures("pinned")
def test_the_cache_is_used_while_its_hash_is_right(own_cache: Path, address: str) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_bytes(CONTENT)
    assert sample_video(address=NOWHERE) == own_cache
    own_cache.write_bytes(b"damaged")
    assert sample_video(address=address) == own_cache
    assert own_cache.read_bytes() == CONTENT


@pytest.mark.usefixtures("pinned")
def test_a_host_that_does_not_answer_is_said_aloud_and_the_package_used(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_apt(tmp_path, monkeypatch, CONTENT)
    assert sample_video(address=NOWHERE) == own_cache
    assert own_cache.read_bytes() == CONTENT
    assert "Falling back to Debian's package opencv-doc: 96 MB" in caplog.text


@pytest.mark.usefixtures("pinned")
def test_a_package_with_another_content_is_refused_and_leaves_nothing(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_apt(tmp_path, monkeypatch, b"something else")
    with pytest.raises(DownloadError, match="not the published one"):
        sample_video(address=NOWHERE)
    assert list(own_cache.parent.iterdir()) == []


@pytest.mark.usefixtures("pinned")
def test_a_video_that_is_nowhere_to_be_had_names_all_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_apt(tmp_path, monkeypatch, None)
    with pytest.raises(DownloadError) as caught:
        sample_video(address=NOWHERE)
    for part in ("127.0.0.1:9 cannot be reached", "apt-get cannot download", "--video FILE"):
        assert part in str(caught.value)


@pytest.mark.data
def test_the_pinned_hash_is_the_videos(shared_data: Path) -> None:
    content = (shared_data / "data/video/vtest.avi").read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (sample.SHA256, sample.BYTES)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames, grey from dark to bright from left to right."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (200, 100))
    for _ in range(10):
        ramp = np.broadcast_to(np.arange(0, 200, dtype=np.uint8)[None, :, None], (100, 200, 3))
        writer.write(np.ascontiguousarray(ramp))
    writer.release()
    return path


def first_frame(path: Path) -> tuple[np.ndarray, int]:
    capture = cv2.VideoCapture(str(path))
    _, frame = capture.read()
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return np.asarray(frame), frames


def test_windows_have_their_place_scale_light_and_side(video: Path, tmp_path: Path) -> None:
    windows = (
        Window("a", 0.0, 0.5, 0.0, 1.0, scale=2.0),
        Window("b", 0.5, 1.0, 0.0, 0.5, scale=1.0, mirrored=True),
        Window("c", 0.5, 1.0, 0.0, 0.5, scale=1.0, gamma=2.0, blur_px=0.5),
    )
    a, b, c = (first_frame(path) for path in cut(video, tmp_path, windows))
    assert (a[0].shape, b[0].shape, c[0].shape) == ((200, 200, 3), (50, 100, 3), (50, 100, 3))
    assert (a[1], b[1], c[1]) == (10, 10, 10)
    assert a[0][:, 180:].mean() == pytest.approx(95, abs=6)
    assert b[0][:, :20].mean() == pytest.approx(190, abs=6)
    assert c[0][:, :20].mean() == pytest.approx(110**2 / 255, abs=8)


def test_a_cut_that_is_there_is_not_made_again(video: Path, tmp_path: Path) -> None:
    paths = cut(video, tmp_path)
    assert [path.name for path in paths] == ["cam1.mp4", "cam2.mp4", "cam3.mp4"]
    before = [path.stat().st_mtime_ns for path in paths]
    video.unlink()
    assert [path.stat().st_mtime_ns for path in cut(video, tmp_path)] == before


def test_what_is_no_video_or_cannot_be_written_is_a_clear_error(video: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no video")
    with pytest.raises(SourceError, match="cannot be read as a video"):
        cut(tmp_path / "text", tmp_path)
    with pytest.raises(StorageError, match="cannot be written"):
        cut(video, tmp_path / "missing")


@pytest.mark.data
def test_the_demonstration_leaves_mosaic_database_and_table(shared_data: Path, tmp_path: Path) -> None:
    video = record(shared_data / "data/video/vtest.avi", tmp_path / "short.mp4", 30, slice(0, 768))
    out = tmp_path / "demo-output"
    words = ("demo", "--out", out, "--video", video, "--models", shared_data / "models")
    for _ in range(2):
        done = tracking_system(*words, "--set", "detector=person-detection-0200")
        assert done.returncode == 0, done.stderr
        assert "person  cameras crossed" in done.stdout
        assert "12:00:0" in done.stdout
    names = {path.name for path in out.iterdir()}
    assert {"mosaic.mp4", "tracking.db", "people.txt", "cameras.yaml", "tracker.log"} <= names
    assert first_frame(out / "mosaic.mp4")[1] == pytest.approx(30, abs=2)
    assert [window.name for window in PLAZA] == ["West", "Middle", "East"]
    assert "cam1.mp4" in (out / "cameras.yaml").read_text()
