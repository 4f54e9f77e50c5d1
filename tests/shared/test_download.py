from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from shared import download
from shared.download import UnreachableError, cache_folder, fetch, replacing, sha256_of
from shared.errors import DownloadError

CONTENT = np.random.default_rng(7).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ENDLESS = 200_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with the faults that a test asks for.

    cuts: after how many bytes each of the next connections is closed.
    """

    protocol_version = "HTTP/1.1"
    ranges: ClassVar[bool] = True
    content: ClassVar[bytes] = CONTENT
    cuts: ClassVar[list[int]] = []
    asked: ClassVar[list[str]] = []
    sent: ClassVar[int] = 0
    gate: ClassVar[threading.Event | None] = None

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        Handler.asked.append(wanted)
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/endless":
            self.send_endlessly()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and Handler.ranges else 0
        if start and start >= len(Handler.content):
            self.send_error(416)
            return
        body = Handler.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(Handler.content) - 1}/{len(Handler.content)}"
            )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if Handler.cuts:
            body = body[: Handler.cuts.pop(0)]
            self.close_connection = True
        if Handler.gate is not None:
            half = len(body) // 2
            self.wfile.write(body[:half])
            Handler.gate.wait()
            body = body[half:]
        with contextlib.suppress(OSError):  # the client was killed
            self.wfile.write(body)

    def send_endlessly(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            while Handler.sent < ENDLESS:
                self.wfile.write(CONTENT)
                Handler.sent += len(CONTENT)
        except OSError:
            return  # the client has had enough

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base address of a real server on this machine."""
    for name, value in {"ranges": True, "content": CONTENT, "cuts": [], "asked": [], "sent": 0}.items():
        monkeypatch.setattr(Handler, name, value)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_arrives_whole_and_nothing_else_is_left(address: str, tmp_path: Path) -> None:
    path = fetch(f"{address}/file", tmp_path / "deep" / "file.bin", SHA256, len(CONTENT))

    assert path.read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.bin"]


def test_a_right_file_is_not_fetched_again(address: str, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    fetch(f"{address}/file", tmp_path / "file.bin", SHA256)

    assert Handler.asked == []


def test_the_first_digits_of_a_hash_are_enough(address: str, tmp_path: Path) -> None:
    assert fetch(f"{address}/file", tmp_path / "file.bin", SHA256[:8]).stat().st_size == len(CONTENT)


def test_a_connection_that_breaks_off_is_continued_where_it_stopped(address: str, tmp_path: Path) -> None:
    Handler.cuts = [100_000, 50_000]
    path = fetch(f"{address}/file", tmp_path / "file.bin", SHA256)

    assert path.read_bytes() == CONTENT
    assert Handler.asked == ["", "bytes=100000-", "bytes=150000-"]


def test_what_an_earlier_run_left_is_continued(address: str, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:200_000])
    path = fetch(f"{address}/file", tmp_path / "file.bin", SHA256, len(CONTENT))

    assert path.read_bytes() == CONTENT
    assert Handler.asked == ["bytes=200000-"]


@pytest.mark.parametrize("bytes_total", [None, len(CONTENT)])
def test_a_part_that_was_already_whole_is_only_renamed(
    address: str, tmp_path: Path, bytes_total: int | None
) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)

    assert fetch(f"{address}/file", tmp_path / "file.bin", SHA256, bytes_total).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"something older" * 9, CONTENT + b"and more"])
def test_a_part_of_something_else_is_thrown_away_and_fetched_anew(
    address: str, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "file.bin.part").write_bytes(left)

    assert fetch(f"{address}/file", tmp_path / "file.bin", SHA256, len(CONTENT)).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(address: str, tmp_path: Path) -> None:
    Handler.ranges, Handler.cuts = False, [100_000]

    assert fetch(f"{address}/file", tmp_path / "file.bin", SHA256).read_bytes() == CONTENT


def test_a_connection_that_always_breaks_off_ends_with_an_error_and_keeps_what_came(
    address: str, tmp_path: Path
) -> None:
    Handler.cuts = [10_000, 10_000, 10_000]
    with pytest.raises(DownloadError, match=r"broke off 3 times.*goes on from the 30000 bytes"):
        fetch(f"{address}/file", tmp_path / "file.bin", SHA256)

    assert left_in(tmp_path) == ["file.bin.part"]
    assert fetch(f"{address}/file", tmp_path / "file.bin", SHA256).read_bytes() == CONTENT


FETCH = """
import logging, sys
from pathlib import Path
from shared.download import fetch
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
"""


@contextmanager
def fetching(address: str, destination: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that downloads the file; its log comes from its stdout."""
    words = [sys.executable, "-u", "-c", FETCH, address, str(destination), SHA256]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def held_back() -> Iterator[threading.Event]:
    """The server sends the second half of what it is asked for when this is set."""
    Handler.gate = threading.Event()
    yield Handler.gate
    Handler.gate.set()
    Handler.gate = None


def test_of_two_processes_that_want_one_file_one_downloads_it_and_the_other_waits(
    address: str, tmp_path: Path, held_back: threading.Event
) -> None:
    destination = tmp_path / "file.bin"
    with fetching(f"{address}/file", destination) as first:
        assert "downloading file.bin" in line_of(first)
        with fetching(f"{address}/file", destination) as second:
            assert "another process is downloading file.bin: waiting for it" in line_of(second)
            held_back.set()
            assert (first.wait(), second.wait()) == (0, 0)
    assert destination.read_bytes() == CONTENT
    assert Handler.asked == [""]
    assert left_in(tmp_path) == ["file.bin"]


def test_whoever_waits_goes_on_where_a_killed_download_stopped(
    address: str, tmp_path: Path, held_back: threading.Event
) -> None:
    destination = tmp_path / "file.bin"
    with fetching(f"{address}/file", destination) as first:
        assert "downloading file.bin" in line_of(first)
        with fetching(f"{address}/file", destination) as second:
            assert "waiting for it" in line_of(second)
            while not (tmp_path / "file.bin.part").stat().st_size:
                assert first.poll() is None
            first.kill()
            held_back.set()
            assert second.wait() == 0
    assert destination.read_bytes() == CONTENT
    assert Handler.asked[0] == ""
    assert Handler.asked[1].startswith("bytes=")


def test_a_file_made_in_place_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), replacing(tmp_path / "file") as unfinished:
        unfinished.write_text("half")
        raise ValueError("no")
    assert left_in(tmp_path) == []
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        one.write_text("one")
        other.write_text("other")
    assert left_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "one"


@pytest.mark.parametrize("other", [CONTENT[:-1] + b"x", CONTENT + b"more", b""])
def test_content_other_than_pinned_is_an_error_that_leaves_nothing(
    address: str, tmp_path: Path, other: bytes
) -> None:
    Handler.content = other
    with pytest.raises(DownloadError, match=r"/file sent something else than was pinned"):
        fetch(f"{address}/file", tmp_path / "file.bin", SHA256)

    assert left_in(tmp_path) == []


def test_content_without_an_end_is_cut_off_at_the_announced_length(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="something else than was pinned"):
        fetch(f"{address}/endless", tmp_path / "file.bin", SHA256, bytes_total=1000)

    assert left_in(tmp_path) == []
    assert Handler.sent < ENDLESS


def test_a_missing_file_is_an_error_with_its_address(address: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/gone answered 404"):
        fetch(f"{address}/gone", tmp_path / "file.bin", SHA256)

    assert left_in(tmp_path) == []


def test_a_refused_connection_names_the_host(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=rf"{host} cannot be reached \(.*refused\).*proxy"):
            fetch(f"http://{host}/file", tmp_path / "file.bin", SHA256)


def test_a_host_that_accepts_and_stays_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(UnreachableError, match="timed out"):
            fetch(address, tmp_path / "file.bin", SHA256)


def test_a_folder_that_cannot_be_written_is_said(address: str, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    with pytest.raises(DownloadError, match=r"cannot be written.*TRACKING_SYSTEM_CACHE"):
        fetch(f"{address}/file", tmp_path / "occupied" / "file.bin", SHA256)


def test_only_web_addresses_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not an http or https address"):
        fetch((tmp_path / "x").as_uri(), tmp_path / "file.bin", SHA256)


def test_without_a_terminal_progress_is_a_line_in_the_log(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO"):
        fetch(f"{address}/file", tmp_path / "file.bin", SHA256)

    assert [each.message for each in caplog.records] == [
        "downloading file.bin (300000 bytes)",
        "downloaded file.bin (300000 bytes)",
    ]
    assert capsys.readouterr().err == ""


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKING_SYSTEM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "tracking-system"
    monkeypatch.setenv("TRACKING_SYSTEM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert sha256_of(tmp_path / "file") == SHA256
