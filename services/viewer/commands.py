"""Commands on their way to the tracker, sent from a thread of their own: a window must not wait."""

from __future__ import annotations

import queue
import threading

import zmq

from services.viewer.controls import Command, Select
from shared.errors import TrackingError
from shared.request import Requester

ANSWER_S = 3.0


class CommandSender:
    """Sends commands one after another, and tells what came of each as a text for the operator."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._requester = Requester(context, address)
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        """Send a command when those before it are answered; never waits."""
        self._commands.put(command)

    def notices(self) -> list[str]:
        """What came of the commands answered since the last call."""
        notices = []
        while not self._notices.empty():
            notices.append(self._notices.get())
        return notices

    def close(self) -> None:
        """Send what is still waiting, at most one answer's time each, and close."""
        self._commands.put(None)
        self._thread.join()
        self._requester.close()

    def _run(self) -> None:
        while (command := self._commands.get()) is not None:
            try:
                self._notices.put(self._ask(command))
            except TrackingError as error:
                self._notices.put(str(error))

    def _ask(self, command: Command) -> str:
        if isinstance(command, Select):
            fields = {"camera": command.camera, "x": command.x, "y": command.y}
            answer = self._requester.ask("click", fields, timeout_s=ANSWER_S)
            return f"following person {answer.get('identity', '')}".strip()
        self._requester.ask("unfollow", {"identity": command.identity}, timeout_s=ANSWER_S)
        return f"no longer following person {command.identity}"
