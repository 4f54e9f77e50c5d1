"""One writer a data folder, between real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from shared.errors import StorageError
from shared.folder_lock import FolderLock, Part

Hold: TypeAlias = Callable[[Part], subprocess.Popen[str]]

HOLDER = """
import sys
from pathlib import Path
from shared.folder_lock import FolderLock
with FolderLock(Path(sys.argv[1]), "a program", sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Starts processes that hold a part of the folder."""
    with ExitStack() as processes:

        def start(part: Part) -> subprocess.Popen[str]:
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HOLDER, str(tmp_path), part],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            processes.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            return process

        yield start


def refusal(folder: Path, part: Part = "whole") -> str:
    with pytest.raises(StorageError) as refused:
        FolderLock(folder, "another", part).acquire()
    return str(refused.value)


def test_a_second_process_is_refused_and_told_who_holds_the_folder_since_when(
    tmp_path: Path, hold: Hold
) -> None:
    holder = hold("whole")
    told = refusal(tmp_path)
    assert f"{tmp_path} is in use by a program (process {holder.pid}, since 20" in told
    assert "end that one, or choose another folder" in told


def test_a_second_lock_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with FolderLock(tmp_path, "a program"):
        assert f"process {os.getpid()}" in refusal(tmp_path)
    with FolderLock(tmp_path, "a program"):
        pass


def test_a_holder_killed_by_sigkill_leaves_no_lock_behind(tmp_path: Path, hold: Hold) -> None:
    holder = hold("whole")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with FolderLock(tmp_path, "another"):
        pass


def test_a_run_and_its_own_store_hold_the_folder_together(tmp_path: Path, hold: Hold) -> None:
    with FolderLock(tmp_path, "tracking-system run", "supervisor"):
        hold("writer")
        assert "in use by tracking-system run" in refusal(tmp_path)


def test_nobody_else_gets_in_while_the_store_of_a_run_is_restarted(tmp_path: Path, hold: Hold) -> None:
    hold("supervisor")
    assert "in use by a program" in refusal(tmp_path)
    with FolderLock(tmp_path, "the restarted store", "writer"):
        pass


def test_a_run_is_refused_where_somebody_writes(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.folder_lock._PATIENCE_S", 0.0)
    hold("writer")
    assert "in use by a program" in refusal(tmp_path, "supervisor")
    assert "in use by a program" in refusal(tmp_path, "whole")


def test_the_store_of_a_killed_run_is_waited_for_until_it_has_ended_too(tmp_path: Path, hold: Hold) -> None:
    store = hold("writer")
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "supervisor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with waiting:
        # It has the first lock, so it waits for the second.
        while "held" not in _holders(tmp_path / "supervisor.lock"):
            assert waiting.poll() is None
        store.kill()
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "held\n"
        waiting.communicate()


def _holders(path: Path) -> str:
    return "held" if path.exists() and path.read_text() else ""


def test_a_failed_attempt_leaves_nothing_held(tmp_path: Path, hold: Hold) -> None:
    store = hold("writer")
    lock = FolderLock(tmp_path, "another", "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.folder_lock._PATIENCE_S", 0.0)
        with pytest.raises(StorageError):
            lock.acquire()
    store.communicate()
    with FolderLock(tmp_path, "a third", "whole"):
        pass


def test_a_holder_that_could_not_write_its_name_down_holds_the_folder_all_the_same(tmp_path: Path) -> None:
    no_room = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    with subprocess.Popen(
        [sys.executable, "-c", no_room + HOLDER, str(tmp_path), "whole"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert "is in use by another process" in refusal(tmp_path)
        holder.communicate()
        assert holder.returncode == 0


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written: Not a directory" in refusal(tmp_path / "file" / "data")


def test_a_file_system_without_locks_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = refusal(tmp_path)
    assert "supervisor.lock cannot be locked (No locks available)" in told
    assert "local disk" in told
