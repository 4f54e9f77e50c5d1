"""How long starts, decisions and questions take on a database in which very many people were seen.

Fills a database through `DatabaseManager` (live cameras, 20 people in each frame, two frames a person) and
gives it the checkpoint of a tracker that remembers the newest people.  Then measures, each with the file no
longer in the system's cache: opening it, the store's start until it answers, the tracker's restoring through
the store, one commit of new frames, forgetting one person, and the commands as a user starts them.

    python -m benchmarks.history_size [--people N] [--remembered N] [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import zmq

from services.store.connection import DATABASE_NAME
from services.store.database import DatabaseManager, Sequenced
from services.store.service import StoreService
from services.tracker.core import TrackerCore
from services.tracker.kalman import Float64
from services.tracker.reason import Candidate, Reason
from services.tracker.recall import recall
from services.tracker.register import MAX_PEOPLE
from services.tracker.track import Track
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.messages import Checkpoint, FrameStamp, IdentityEvent, Tracks
from shared.request import Requester

CAMERAS = 4
PEOPLE_IN_VIEW = 20
FRAMES_IN_VIEW = 2
TRACKS_REMEMBERED = 7
"""Of each person the tracker remembers, in three cameras: with their embeddings about 4 kB a person."""

EMBEDDING = 256
START_NS = 1_714_564_800_000_000_000
STEP_NS = 500_000_000
MESSAGES_AT_ONCE = 400
GOAL_S = 5.0

T = TypeVar("T")


def stored_frames(first: int, people: int, *, first_frame: int = 0) -> Iterator[Sequenced]:
    """Messages of live cameras in which the people `first`, `first` + 1, ... are seen, in one track each."""
    for number in range(-(-people // PEOPLE_IN_VIEW)):
        group = range(first, first + people)[number * PEOPLE_IN_VIEW :][:PEOPLE_IN_VIEW]
        camera, turn = number % CAMERAS + 1, number // CAMERAS
        for frame in range(turn * FRAMES_IN_VIEW, (turn + 1) * FRAMES_IN_VIEW):
            at = first_frame + frame
            yield camera, 1, at, _frame(FrameStamp(camera, 1, at, START_NS + at * STEP_NS, 1920, 1080), group)


def _frame(stamp: FrameStamp, identities: range) -> Tracks:
    count = len(identities)
    ids = np.array(identities, dtype=np.int64)
    left = np.linspace(0.0, 1800.0, count, dtype=np.float32)
    top = np.full(count, 300.0, dtype=np.float32)
    return Tracks(
        stamp=stamp,
        track_ids=ids,
        identity_ids=ids,
        boxes=np.stack([left, top, left + 80, top + 240], axis=1),
        scores=np.full(count, 0.9, dtype=np.float32),
        observed=np.ones(count, dtype=np.bool_),
        velocities=np.zeros((count, 2), dtype=np.float32),
        paths=np.zeros((count, 10, 2), dtype=np.float32),
        assignments=np.stack([ids, ids], axis=1),
        decision=1,
    )


def tracker_that_remembers(first: int, people: int) -> TrackerCore:
    """A tracker to which people with the numbers `first`, `first` + 1, ... are known."""
    core = TrackerCore(Config())
    core.begin_after(0, first - 1)
    register, rng = core._gallery.register, np.random.default_rng(1)
    for identity in range(first, first + people):
        register.newcomer()
        looks = rng.normal(size=EMBEDDING)
        for number in range(TRACKS_REMEMBERED):
            noise = rng.normal(size=EMBEDDING)
            register.settle(_settled(identity, number, np.float32(looks + 0.5 * noise).astype(float)))
    return core


def _settled(identity: int, number: int, embedding: Float64) -> Track:
    track_id, camera = identity * TRACKS_REMEMBERED + number, number % 3 + 1
    t_ns = START_NS + track_id * STEP_NS
    track = Track(track_id, camera, t_ns)
    track.observe(t_ns, [t_ns * 1e-9, 900.0, 500.0, 3.0, 1.0, 240.0])
    track.embed(embedding / np.linalg.norm(embedding), 0.9, t_ns)
    track.identity = identity
    terms = {"appearance": 3.1, "time": 0.7, "place": 0.4}
    before = Candidate(identity, camera, track_id - 1, 4.2, terms)
    track.reason = Reason(before if number else None, None, 1.5)
    return track


def fill(data: Path, people: int, remembered: int) -> float:
    """Make the database; returns the seconds that the frames took."""
    with DatabaseManager(data) as database:
        for camera in range(1, CAMERAS + 1):
            database.set_cameras({camera: CameraConfig(camera, f"rtsp://camera.example/{camera}")})
        began_s = time.perf_counter()
        frames = stored_frames(1, people)
        while batch := list(islice(frames, MESSAGES_AT_ONCE)):
            database.commit(batch)
        took_s = time.perf_counter() - began_s
        state, identities = tracker_that_remembers(people - remembered + 1, remembered).snapshot(reserve=True)
        database.commit([(0, 1, 0, Checkpoint({}, state, identities))])
    return took_s


def timed(data: Path, work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that some work takes with nothing of the database in the system's cache, and its result."""
    with (data / DATABASE_NAME).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began_s = time.perf_counter()
    result = work()
    return time.perf_counter() - began_s, result


class RunningStore:
    """A store on a data folder in a thread of this process, until the `with` block ends."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoints = Endpoints.local(data)
        endpoints.prepare()
        self.history = Requester(self._context, endpoints.history)
        self._thread = threading.Thread(target=self._serve, args=(endpoints,))

    def _serve(self, endpoints: Endpoints) -> None:
        StoreService({}, self._data, Config(), endpoints).run(self._stop)

    def start(self) -> None:
        """Returns when the store has answered."""
        self._thread.start()
        self.history.ask("stats", timeout_s=600.0)

    def __enter__(self) -> RunningStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.history.close()
        self._context.term()


def services(data: Path, remembered: int) -> dict[str, float]:
    """Seconds of the starts: opening, the store, the tracker, and of both parts of the tracker's."""
    seconds: dict[str, float] = {}
    seconds["open"], database = timed(data, lambda: DatabaseManager(data))
    database.close()
    with RunningStore(data) as store:
        seconds["store start"], _ = timed(data, store.start)
        seconds["recall"], recalled = timed(data, lambda: recall(store.history, 600.0))
    checkpoint = recalled.checkpoint
    assert checkpoint is not None and len(checkpoint.identities) == remembered
    began_s = time.perf_counter()
    TrackerCore.restore(Config(), checkpoint.state, checkpoint.identities)
    seconds["restore"] = time.perf_counter() - began_s
    seconds["tracker start"] = seconds["recall"] + seconds["restore"]
    return seconds


def writing(data: Path, people: int) -> dict[str, float]:
    """Seconds of a commit of frames with people never seen before, and of forgetting somebody."""
    frames = list(stored_frames(people + 1, 10 * PEOPLE_IN_VIEW, first_frame=people))
    seconds: dict[str, float] = {}
    with DatabaseManager(data) as database:
        seconds["commit 20 frames"], _ = timed(data, lambda: database.commit(frames))
        forget: list[Sequenced] = [(0, 2, 0, IdentityEvent(people // 2, "forget", START_NS))]
        seconds["forget"], _ = timed(data, lambda: database.commit(forget))
    return seconds


def commands(data: Path, people: int) -> dict[str, float]:
    """Seconds of the commands, each a process of its own."""
    return {
        "last-seen": _command(data, "last-seen", str(data)),
        "last-seen of one": _command(data, "last-seen", str(data), str(people)),
        "explain": _command(data, "explain", str(data), str(people)),
        "stats": _command(data, "stats", str(data)),
    }


def _command(data: Path, *arguments: str) -> float:
    command = [sys.executable, "-m", "tracking_system", *arguments]
    return timed(data, lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))[0]


def main() -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1_000_000, help="ever seen")
    parser.add_argument("--remembered", type=int, default=MAX_PEOPLE, help="of them by the tracker")
    parser.add_argument("--data", type=Path, help="a new data folder, kept (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options.data or Path(folder), options.people, options.remembered)


def measure(data: Path, people: int, remembered: int) -> None:
    """Fill, measure and print."""
    fill_s = fill(data, people, remembered)
    size_mb = (data / DATABASE_NAME).stat().st_size / 1e6
    print(f"{people} people, {remembered} remembered, {size_mb:.0f} MB, filled in {fill_s:.0f} s")
    seconds = services(data, remembered) | commands(data, people) | writing(data, people)
    for name, value in seconds.items():
        print(f"  {name:17} {value:7.2f} s")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"  peak memory       {peak_mb:7.0f} MB")
    goals = {
        name.replace(" ", "_") + "_s": [round(seconds[name], 3), GOAL_S, seconds[name] <= GOAL_S]
        for name in ("store start", "tracker start")
    }
    figures = {name: round(value, 3) for name, value in seconds.items()}
    print(json.dumps({"benchmark": "history_size", "people": people, "seconds": figures, "goals": goals}))


if __name__ == "__main__":
    main()
