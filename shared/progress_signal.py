"""A process's sign to its supervisor that it got somewhere.

The supervisor gives each child the writing end of a pipe.  One byte in it means that, since it started, the
child has done work that does not have to be done again: that is what a supervisor must know to tell a program
that crashes now and then from one that crashes at the same place each time.
"""

from __future__ import annotations

import contextlib
import os

VARIABLE = "TRACKING_SYSTEM_PROGRESS_FD"
"""Names the descriptor of the pipe's writing end in the child's environment."""


class ProgressSignal:
    """The child's end; does nothing in a process that nobody supervises."""

    def __init__(self) -> None:
        # Taken out of the environment: in processes that this one starts the number means something else.
        number = os.environ.pop(VARIABLE, "")
        self._fd = int(number) if number.isdecimal() else -1

    def give(self) -> None:
        """Tell the supervisor; after the first time nothing happens."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # the supervisor has gone, and this process is about to
            os.write(self._fd, b"+")
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1
