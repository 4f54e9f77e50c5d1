"""The limits of the product: the document tells them as they are, and each has a test that goes over it."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from services.ingest import capture_clock
from services.store import identity_changes
from services.store.database import DatabaseManager
from services.store.service import RECORDED_WINDOW, STATES_PAGE_BYTES, StoreService
from services.tracker import core as tracker_core
from services.tracker import register, reservation, watermark
from services.tracker.core import TrackerCore
from shared import jpeg, limits, sockets
from shared.clock import bounded_offset_ns
from shared.config import Config
from shared.config_file import load
from shared.endpoints import Endpoints
from shared.errors import ConfigError, TrackingError
from shared.messages import FrameStamp, IdentityEvent, Report
from tests.store.scene import tracks
from tests.tracker.test_core import walk
from tracking_system import detection_file

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "limits.md"
MIB = 1 << 20


def row_of(*names: str) -> dict[str, str]:
    """The table's row whose first cell contains all of these words."""
    (row,) = [each for each in rows() if all(name in each["limit"] for name in names)]
    return row


def rows() -> list[dict[str, str]]:
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and not set(cells[0]) <= {"-"} and cells[0] != "limit":
            found.append(dict(zip(("limit", "value", "checked", "beyond", "test"), cells, strict=True)))
    return found


VALUES: dict[tuple[str, ...], str] = {
    ("camera id",): f"1 to {limits.MAX_CAMERA}",
    ("name of a camera",): f"{limits.MAX_NAME}",
    ("frames a second of a picture",): f"{limits.MIN_FPS} to {limits.MAX_FPS:g}",
    ("path of an `ipc",): f"{sockets.LONGEST_IPC_PATH}",
    ("side of a picture",): f"{limits.MAX_SIDE_PX}",
    ("area of a picture",): f"{limits.MAX_AREA_PX}",
    ("pixels for each byte",): f"{jpeg.MOST_PX_PER_BYTE}",
    ("a JPEG, MiB",): f"{limits.MAX_JPEG_BYTES // MIB}",
    ("people detected",): f"{limits.MAX_PEOPLE}",
    ("numbers of an appearance",): f"{limits.MAX_FEATURE_DIMENSIONS}",
    ("one message",): f"{limits.MAX_MESSAGE_BYTES // MIB}",
    ("one part",): f"{limits.PART_BYTES // MIB}",
    ("a checkpoint",): f"{limits.MAX_CHECKPOINT_BYTES // MIB}",
    ("a text in a message",): f"{limits.MAX_TEXT}",
    ("readings of a process",): f"{limits.MAX_READINGS}",
    ("frames of a detection file",): f"{detection_file.MAX_FRAMES}",
    ("people remembered",): f"{register.MAX_PEOPLE}",
    ("name of a person",): f"{limits.MAX_NAME}",
    ("people followed",): f"{limits.MAX_FOLLOWED}",
    ("numbers reserved", "tracks"): f"{reservation.TRACK_BLOCK}",
    ("numbers reserved", "people"): f"{reservation.IDENTITY_BLOCK}",
    ("tracks of forgotten",): f"{identity_changes.MAX_ERASED_TRACKS}",
    ("that the store lets come",): f"{RECORDED_WINDOW}",
    ("streams of one receiver",): f"{limits.MAX_STREAMS}",
    ("senders of one receiver",): f"{limits.MAX_PEERS}",
    ("topics of a feed",): f"{limits.MAX_TOPICS}",
    ("processes whose report",): f"{limits.MAX_PROCESSES}",
    ("people's states",): f"{STATES_PAGE_BYTES // MIB}",
    ("step of the system clock",): f"{capture_clock.STEP_NS * 1e-9:g}",
    ("speed at which",): f"{capture_clock.SLEW:g}",
    ("may go back",): f"{watermark.CLOCK_SET_NS * 1e-9:g}",
    ("frames of the past",): f"{tracker_core.CLOCK_SET_FRAMES}",
}


@pytest.mark.parametrize(("names", "value"), VALUES.items(), ids=lambda each: str(each)[:40])
def test_the_document_tells_each_limit_as_it_is(names: tuple[str, ...], value: str) -> None:
    assert row_of(*names)["value"] == value


def test_each_limit_of_the_document_has_a_test() -> None:
    defined = {
        name
        for path in ROOT.glob("tests/**/*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert len(rows()) > len(VALUES)
    assert {row["limit"]: row["test"] for row in rows() if row["test"].strip("`") not in defined} == {}


def configured(folder: Path, more: str) -> None:
    path = folder / "cameras.yaml"
    path.write_text(f"cameras: {{1: {{source: pictures, {more}}}}}\n")
    load(path)


@pytest.mark.parametrize(
    ("fits", "does_not"),
    [("1970-01-01T00:00:00", "1969-12-31T23:59:59"), ("2199-01-01T00:00:00", "2199-01-01T00:00:01")],
)
def test_a_start_is_taken_up_to_its_limits(tmp_path: Path, fits: str, does_not: str) -> None:
    configured(tmp_path, f"start: {fits}")
    with pytest.raises(ConfigError, match=r"cameras.yaml:1: camera 1: start must lie between 1970"):
        configured(tmp_path, f"start: {does_not}")


@pytest.mark.parametrize(("fits", "does_not"), [("0.001", "0.0009"), ("1000", "1000.1")])
def test_frames_a_second_are_taken_up_to_their_limits(tmp_path: Path, fits: str, does_not: str) -> None:
    configured(tmp_path, f"fps: {fits}")
    with pytest.raises(ConfigError, match=r"fps must be a number from 0.001 to 1000"):
        configured(tmp_path, f"fps: {does_not}")


def test_the_name_of_a_person_is_taken_up_to_its_limit() -> None:
    core = TrackerCore(Config())
    for message in walk(1, 1, range(10)):
        core.process(message)
    core.name(1, "x" * limits.MAX_NAME, 1)
    with pytest.raises(TrackingError, match="a name has at most 200 characters, this one has 201"):
        core.name(1, "x" * (limits.MAX_NAME + 1), 1)


def test_people_are_followed_up_to_the_limit() -> None:
    core = TrackerCore(Config())
    core.begin_after(0, limits.MAX_FOLLOWED + 1)
    for identity in range(1, limits.MAX_FOLLOWED + 2):
        core.recall(identity)
    for identity in range(1, limits.MAX_FOLLOWED + 1):
        core.follow(identity, 1)
    with pytest.raises(TrackingError, match="1024 people are followed already: unfollow somebody first"):
        core.follow(limits.MAX_FOLLOWED + 1, 1)
    core.follow(1, 1)  # who is followed already takes no place


def test_a_row_of_a_detection_file_is_taken_up_to_the_last_frame(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    last = detection_file.MAX_FRAMES
    path.write_text(f"{last},-1,10,10,20,40,0.9\n{last + 1},-1,10,10,20,40,0.9\n")
    read = detection_file.DetectionFile.read(path)
    assert (read.frames, len(read.rows)) == (last, 1)
    assert read.skipped == [(2, f"the frame is {last + 1}, not a whole number from 1 to {last}")]


def test_the_store_keeps_in_mind_so_many_tracks_of_forgotten_people(tmp_path: Path) -> None:
    most = identity_changes.MAX_ERASED_TRACKS
    stamp = FrameStamp(1, 1, 0, 1_700_000_000_000_000_000, 640, 480)
    with DatabaseManager(tmp_path) as database:
        erased = IdentityEvent(7, "forget", 1, tracks=tuple(range(1, most + 2)))
        database.commit([(0, 1, 0, erased)])
        database.commit([(1, 1, 0, tracks(stamp, [(1, 8), (2, 9), (most + 1, 9)]))])
        stored = database._connection.execute("SELECT track FROM tracks").fetchall()
    assert [track for (track,) in stored] == [1]


def test_so_many_processes_are_told_of_and_no_more(tmp_path: Path) -> None:
    store = StoreService({}, tmp_path, Config(), Endpoints.local(tmp_path))
    for number in range(1, limits.MAX_PROCESSES + 2):
        store._keep_report(Report("ingest", number, "here", 1, 1, "running", {}))
    told = [each["instance"] for each in store._stats({})["processes"]]
    assert told == list(range(2, limits.MAX_PROCESSES + 2))
    stop = threading.Event()
    stop.set()
    store.run(stop)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_offset_beyond_the_limit_counts_as_the_limit(sign: int) -> None:
    most = limits.MAX_CLOCK_OFFSET_NS
    assert round(most / (365.25 * 86_400e9)) == int(row_of("hosts' clocks")["value"])
    assert bounded_offset_ns(sign * most) == sign * most
    assert bounded_offset_ns(sign * (most + 1)) == sign * most
