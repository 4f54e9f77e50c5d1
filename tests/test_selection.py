"""A click in one viewer's window follows a person in every camera and every viewer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
import zmq

from services.store.history import History
from services.viewer.palette import ACCENT
from services.viewer.scene import Scene
from services.viewer.service import TITLE
from shared.endpoints import Endpoints
from shared.errors import StorageError
from shared.feed import FeedSubscriber
from shared.messages import Followed, Tracks
from tests.viewer.samples import near, shown
from tests.viewer.screen import Screen, wait_until

pytestmark = pytest.mark.data

WINDOW = (1280, 720)


@pytest.fixture
def screens() -> Iterator[tuple[Screen, Screen]]:
    """Two displays, for an operator's window each."""
    if missing := [program for program in ("Xvfb", "xdotool", "openbox") if shutil.which(program) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed: no screen to open a window on")
    with ExitStack() as open_screens:
        pair = Screen(), Screen()
        for screen in pair:
            open_screens.callback(screen.close)
        yield pair


class Live:
    """The newest tracks of every camera, and who is followed, as any viewer is told."""

    def __init__(self, data: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._feed = FeedSubscriber(self._context, Endpoints.local(data).live)
        self.tracks: dict[int, Tracks] = {}
        self.followed: list[int] = []

    def update(self) -> None:
        self._feed.socket.poll(100)
        for message in self._feed.receive():
            if isinstance(message, Tracks):
                self.tracks[message.stamp.camera] = message
            elif isinstance(message, Followed):
                self.followed = [person.identity for person in message.people]

    def somebody(self) -> tuple[Tracks, int] | None:
        """Newest tracks with an identified person who stands apart from the others, and that row."""
        self.update()
        for tracks in self.tracks.values():
            for row, (identity, box) in enumerate(zip(tracks.identity_ids, tracks.boxes, strict=True)):
                x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                others = [b for n, b in enumerate(tracks.boxes) if n != row]
                alone = not any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in others)
                if identity > 0 and tracks.observed[row] and alone:
                    return tracks, row
        return None

    def close(self) -> None:
        self._feed.close()
        self._context.term()


def window_point(live: Live, tracks: Tracks, row: int) -> tuple[float, float]:
    """Where the middle of a person's box is shown in a window."""
    scene = Scene(dict.fromkeys((1, 2), ""))
    for camera in (1, 2):
        known = live.tracks[camera].stamp
        scene.show(shown(camera, 0, size=(known.width, known.height)), 0)
    scene.picture(*WINDOW, 0)
    x0, y0, x1, y1 = (float(side) for side in tracks.boxes[row])
    point = scene.point_of(tracks.stamp.camera, (x0 + x1) / 2, (y0 + y1) / 2)
    assert point is not None
    return point


def highlighted(screen: Screen) -> bool:
    return int(near(screen.seen(), ACCENT).sum()) > 200


def followed_on_disk(data: Path) -> list[int]:
    try:
        with History(data) as history:
            return [identity.identity for identity in history.identities() if identity.followed]
    except StorageError:
        return []


def test_a_click_in_one_window_highlights_the_person_in_every_viewer_and_is_remembered(
    shared_data: Path, screens: tuple[Screen, Screen], tmp_path: Path
) -> None:
    ours, theirs = screens
    video = shared_data / "data/video/vtest.avi"
    config = tmp_path / "cameras.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "cameras": {number: {"source": str(video), "delivery": "live"} for number in (1, 2)},
                "models": str(shared_data / "models"),
                "detector": "person-detection-0200",
            }
        )
    )
    data = tmp_path / "data"
    program = [sys.executable, "-m", "tracking_system"]
    common = ["--data", str(data)]
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(
            [*program, "run", str(config), *common], env=ours.environment, stdout=log, stderr=log
        )
        second = subprocess.Popen(
            [*program, "viewer", "--config", str(config), *common],
            env=theirs.environment,
            stdout=log,
            stderr=log,
        )
    live = Live(data)
    try:
        window = ours.find(TITLE)
        theirs.find(TITLE)
        wait_until(lambda: live.somebody() is not None and len(live.tracks) == 2, "a person with identity")
        assert not highlighted(theirs)
        ours.press(window, "s")
        clicked: list[int] = []

        def click_until_followed() -> bool:
            found = live.somebody()
            if found is not None and not live.followed:
                tracks, row = found
                clicked.append(int(tracks.identity_ids[row]))
                ours.click(window, *window_point(live, tracks, row))
                for _ in range(5):
                    live.update()
            return bool(live.followed)

        wait_until(click_until_followed, "the click was taken")
        assert live.followed[0] in clicked
        wait_until(lambda: highlighted(ours), "the person is highlighted in our window")
        wait_until(lambda: highlighted(theirs), "the person is highlighted in the other viewer")
        wait_until(lambda: followed_on_disk(data) == live.followed, "the store remembers it")
    finally:
        live.close()
        for process in (second, run):
            process.terminate()
            process.wait(60)
    assert "Traceback" not in (tmp_path / "log").read_text()
