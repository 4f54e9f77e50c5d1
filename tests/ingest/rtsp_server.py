"""A real RTSP camera for tests: a GStreamer RTSP server as a process of its own.

    with RtspServer() as camera:           # a moving test picture
        VideoStream(CameraConfig(1, camera.url), config)

It serves a video file over and over, or a generated moving picture, H.264 over RTP.  `stop` kills it as a
power cut would, `start` brings it back on the same port, `freeze` makes it fall silent with its
connections open.
It needs what the virtual environment cannot have: the system's Python with the GStreamer bindings
(Debian: python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, -bad and -ugly; ffmpeg for files).
"""

from __future__ import annotations

import functools
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"

_PROGRAM = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
port, pipeline = sys.argv[1:]
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch(pipeline)
server.get_mount_points().add_factory("/live", factory)
if server.attach(None) == 0:
    sys.exit("port in use")
print("ready", flush=True)
GLib.MainLoop().run()
"""

_CHECK = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
for name in ("x264enc", "rtph264pay", "h264parse", "videotestsrc", "multifilesrc"):
    if Gst.ElementFactory.find(name) is None:
        raise SystemExit(f"GStreamer has no {name}")
"""


@functools.cache
def missing() -> str:
    """Why no RTSP server can be started here; empty where one can."""
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    check = subprocess.run(
        [SYSTEM_PYTHON, "-c", _CHECK], capture_output=True, text=True, check=False, timeout=60
    )
    return check.stderr.strip().splitlines()[-1] if check.returncode else ""


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspServer:
    """One camera at `url`; skips the test, with the reason, where the machine lacks the tools.

    video: a file to be served over and over at its own rate; None for a moving test picture.
    """

    def __init__(
        self,
        video: Path | None = None,
        *,
        port: int | None = None,
        size: tuple[int, int] = (320, 240),
        fps: int = 25,
    ) -> None:
        if reason := missing():
            pytest.skip(f"no RTSP server: {reason}")
        self.port = port or free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self._process: subprocess.Popen[str] | None = None
        self._folder: Path | None = None
        self._pipeline = self._test_picture(size, fps) if video is None else self._file(video)

    @staticmethod
    def _test_picture(size: tuple[int, int], fps: int) -> str:
        return (
            "( videotestsrc is-live=true pattern=ball"
            f" ! video/x-raw,format=I420,width={size[0]},height={size[1]},framerate={fps}/1"
            f" ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={max(1, fps // 2)}"
            " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )

    def _file(self, video: Path) -> str:
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is None:
            pytest.skip("no RTSP server for files: ffmpeg is not installed")
        self._folder = Path(tempfile.mkdtemp(prefix="rtsp-"))
        stream = self._folder / "stream.h264"
        # A bare H.264 stream can be sent round and round without being encoded again.
        subprocess.run(
            [ffmpeg, "-loglevel", "error", "-i", str(video), "-an", "-c:v", "libx264", "-preset", "ultrafast",
             "-bf", "0", "-g", "10", "-pix_fmt", "yuv420p", "-threads", "1", "-f", "h264", str(stream)],
            check=True,
        )  # fmt: skip
        return (
            f"( multifilesrc location={stream} loop=true ! h264parse"
            " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )

    def start(self) -> None:
        """Serve; returns when clients can connect."""
        assert self._process is None, "already started"
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, "-c", _PROGRAM, str(self.port), self._pipeline],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            self.stop()
            raise RuntimeError(f"the RTSP server did not start on port {self.port}")

    def stop(self) -> None:
        """Kill it, as a power cut would; `start` brings it back on the same port."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def freeze(self) -> None:
        """Fall silent while all connections stay open, as a camera whose program hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def close(self) -> None:
        """Stop, and remove what was made for it."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":  # a camera by hand: python -m tests.ingest.rtsp_server [VIDEO]
    with RtspServer(Path(sys.argv[1]) if len(sys.argv) > 1 else None) as camera:
        sys.stdout.write(camera.url + "\n")
        signal.pause()
