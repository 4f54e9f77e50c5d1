"""The log: one file for all processes, rotated, every line whole; a console that stays readable."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import StorageError
from shared.logs import BACKUPS, FILE_NAME, MAX_BYTES, SharedFileHandler, configure, console_text


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks


def test_a_line_tells_time_level_service_camera_thread_and_text(tmp_path: Path) -> None:
    configure("ingest", tmp_path, "info", 3)
    logging.getLogger("services.ingest").info("né: %d", 640)
    line = (tmp_path / FILE_NAME).read_text(encoding="utf-8")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    ingest camera=3 \[MainThread\] "
        r"services\.ingest: né: 640\n",
        line,
    )


def test_the_console_is_short_and_tells_the_level_of_warnings_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("ingest", tmp_path, "info", 3)
    logging.getLogger("a").info("hello")
    logging.getLogger("a").warning("careful")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d ingest 3   hello", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d ingest 3   warning: careful", second)


def test_a_console_line_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    configure("ingest", None, "info", 3)
    logging.getLogger("a").warning("error: careful")
    logging.getLogger("a").info("hello")
    lines = capsys.readouterr().err.splitlines()
    assert [console_text(line) for line in lines] == ["error: careful", "hello"]
    assert console_text("[h264 @ 0x1] error") == "[h264 @ 0x1] error"


def test_warnings_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure("store")
    logging.getLogger("a").warning("careful")
    logging.getLogger("a").info("hello")
    warning, info = terminal.getvalue().splitlines()
    assert "\033[33mwarning: careful\033[0m" in warning
    assert "\033" not in info


def test_the_console_may_be_quieter_than_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure("store", tmp_path, "debug", console_level="warning")
    logging.getLogger("a").debug("detail")
    assert capsys.readouterr().err == ""
    assert "DEBUG" in (tmp_path / FILE_NAME).read_text()


def test_a_traceback_goes_to_the_file_and_the_console_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("store", tmp_path)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("a").exception("unexpected")
    assert "Traceback" not in (console := capsys.readouterr().err)
    assert "unexpected (the traceback is in tracker.log)" in console
    assert "RuntimeError: broken" in (tmp_path / FILE_NAME).read_text()


def test_what_a_thread_did_not_catch_is_logged(tmp_path: Path) -> None:
    configure("store", tmp_path)
    thread = threading.Thread(target=lambda: 1 // 0, name="writer")
    thread.start()
    thread.join()
    text = (tmp_path / FILE_NAME).read_text()
    assert "CRITICAL store" in text
    assert "ZeroDivisionError" in text
    assert "Traceback" in text


def test_configuring_again_replaces_the_first(tmp_path: Path) -> None:
    configure("store", tmp_path / "a")
    configure("store", tmp_path / "b")
    logging.getLogger("a").info("hello")
    assert (tmp_path / "a" / FILE_NAME).read_text() == ""
    assert (tmp_path / "b" / FILE_NAME).read_text().count("hello") == 1


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"tracker\.log cannot be written"):
        configure("store", tmp_path / "file")


def test_a_disk_that_refuses_is_said_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full.log").symlink_to("/dev/full")
    handler = SharedFileHandler(tmp_path / "full.log")
    record = logging.makeLogRecord({"msg": "hello"})
    handler.emit(record)
    handler.emit(record)
    handler.close()
    assert capsys.readouterr().err.count("cannot be written (No space left on device)") == 1


def test_a_wrong_logging_call_does_not_stop_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = SharedFileHandler(tmp_path / "a.log")
    handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("text",)}))
    handler.emit(logging.makeLogRecord({"msg": "on"}))
    handler.close()
    assert (tmp_path / "a.log").read_text() == "on\n"
    assert "Logging error" in capsys.readouterr().err


WRITER = """
import logging, sys, threading
from pathlib import Path
from shared.logs import configure
configure("writer", Path(sys.argv[1]), camera=int(sys.argv[2]), console_level="error")
sys.stdin.readline()  # all start together
def write(thread):
    for number in range(int(sys.argv[3])):
        logging.getLogger("w").info("line %s %s %05d %s", sys.argv[2], thread, number, "x" * 200)
threads = [threading.Thread(target=write, args=(t,)) for t in range(2)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def write_together(folder: Path, processes: int, lines: int) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(number), str(lines)], stdin=subprocess.PIPE
        )
        for number in range(1, processes + 1)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0] * processes


def test_processes_and_threads_that_rotate_one_file_lose_no_line(tmp_path: Path) -> None:
    write_together(tmp_path, processes=4, lines=1400)
    files = sorted(tmp_path.glob(FILE_NAME + "*"))
    logs = [each for each in files if each.suffix != ".lock"]
    assert [each.name for each in logs] == ["tracker.log", *(f"tracker.log.{n}" for n in range(1, len(logs)))]
    assert 3 <= len(logs) <= BACKUPS + 1
    assert all(each.stat().st_size <= MAX_BYTES for each in logs)
    lines = [line for each in logs for line in each.read_text().splitlines()]
    found = {
        match.groups() for line in lines if (match := re.search(r"line (\d) (\d) (\d{5}) x{200}$", line))
    }
    assert len(lines) == len(found) == 4 * 2 * 1400


def test_only_the_newest_backups_are_kept(tmp_path: Path) -> None:
    handler = SharedFileHandler(tmp_path / "a.log", max_bytes=100, backups=2)
    for number in range(20):
        handler.emit(logging.makeLogRecord({"msg": f"line {number:02d} {'x' * 30}"}))
    handler.close()
    kept = {path.name: path.read_text() for path in tmp_path.glob("a.log*") if path.suffix != ".lock"}
    assert sorted(kept) == ["a.log", "a.log.1", "a.log.2"]
    assert "line 19" in kept["a.log"]
    assert "line 17" in kept["a.log.1"]
    assert "line 15" in kept["a.log.2"]


def test_a_log_that_somebody_removed_is_begun_again(tmp_path: Path) -> None:
    handler = SharedFileHandler(tmp_path / "a.log")
    (tmp_path / "a.log").unlink()
    handler.emit(logging.makeLogRecord({"msg": "hello"}))
    handler.close()
    assert (tmp_path / "a.log").read_text() == "hello\n"
