"""How far a run has come, on the console: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from services.store.history import History
from shared.errors import StorageError

log = logging.getLogger(__name__)

_LINE_EVERY_S = 10.0
_BUSY_S = 0.2
"""Numbers that cannot be had at once are shown the next time; a run must stay able to end at once."""


class Progress:
    """Frames on disk of every camera.

    data: the run's folder.  totals: frames of each recorded camera, where known; without any there is
    nothing to show.  sessions: those of these cameras' recordings; the folder may hold others.
    """

    def __init__(self, data: Path, totals: Mapping[int, int], sessions: Mapping[int, int]) -> None:
        self._data = data
        self._totals = dict(totals)
        self._sessions = sessions
        self._next_line_s = time.monotonic() + _LINE_EVERY_S
        self._redirect = contextlib.ExitStack()
        self._bar: tqdm[Any] | None = None
        if self._totals and sys.stderr.isatty():
            stderr = sys.stderr
            self._bar = tqdm(total=sum(self._totals.values()), unit="frame", file=stderr, leave=True)
            self._redirect.enter_context(contextlib.redirect_stderr(_AboveBar()))

    def update(self) -> None:
        """Show the numbers of now."""
        if not self._totals or (self._bar is None and time.monotonic() < self._next_line_s):
            return
        self._next_line_s = time.monotonic() + _LINE_EVERY_S
        done = self.frames()
        if self._bar is None:
            log.info("frames on disk: %s", self._text(done))
            return
        self._bar.set_postfix_str(self._text(done), refresh=False)
        self._bar.update(sum(min(done[c], total) for c, total in self._totals.items()) - self._bar.n)
        self._bar.refresh()

    def frames(self) -> dict[int, int]:
        """Frames on disk of each camera that has a total."""
        done = dict.fromkeys(self._totals, 0)
        # Until the store has made the database, nothing is on disk.  It is not kept open: the store, the
        # last to leave, then tidies its files up.
        with contextlib.suppress(StorageError), History(self._data, busy_timeout_s=_BUSY_S) as history:
            rows = history.select("SELECT camera, session, frames FROM sessions")
            done |= {camera: frames for camera, session, frames in rows if self._is_shown(camera, session)}
        return done

    def close(self) -> None:
        """Leave the bar as it is, and the console as it was."""
        self._redirect.close()
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_shown(self, camera: int, session: int) -> bool:
        return camera in self._totals and self._sessions.get(camera) == session

    def _text(self, done: Mapping[int, int]) -> str:
        return ", ".join(f"camera {c} {done[c]}/{total}" for c, total in self._totals.items())


class _AboveBar:
    """A stderr whose lines appear above the bar instead of in it."""

    def write(self, text: str) -> int:
        if text.strip():
            tqdm.write(text.rstrip("\n"), file=sys.__stderr__)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        return True
