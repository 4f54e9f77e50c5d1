from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.store import database as database_module
from services.store.database import DatabaseManager
from services.store.history import History
from shared.config import CameraConfig
from shared.messages import Checkpoint, IdentityEvent, Message
from tests.store.scene import SECOND_NS, START_NS, stamp, tracks

NAME = "Ada of the third floor"


def at(second: float) -> int:
    return START_NS + round(second * SECOND_NS)


def fill(database: DatabaseManager, camera: int, *sent: Message) -> None:
    seq = database.position(camera, 1) + 1
    database.commit([(camera, 1, seq + n, message) for n, message in enumerate(sent)])


def walk(database: DatabaseManager, camera: int, seconds: range, track: int, identity: int) -> None:
    fill(database, camera, *(tracks(stamp(camera, 10 * s), [(track, identity)]) for s in seconds))


def forget(database: DatabaseManager, identity: int) -> None:
    fill(database, 0, IdentityEvent(identity, "forget", at(100)))


def count(history: History, table: str) -> int:
    ((number,),) = history.select(f"SELECT count(*) FROM {table}")
    return int(number)


def people(history: History) -> list[int]:
    return [person.identity for person in history.identities()]


@pytest.mark.parametrize("frames_at_once", [3, 1000])
def test_what_is_older_goes_and_the_rest_stays(
    database: DatabaseManager, history: History, monkeypatch: pytest.MonkeyPatch, frames_at_once: int
) -> None:
    monkeypatch.setattr(database_module, "_ROWS_AT_ONCE", frames_at_once)
    walk(database, 1, range(10), 1, 7)
    walk(database, 2, range(5, 15), 2, 8)
    assert database.erase_before(at(7)) == 9
    assert history.select("SELECT min(t_ns) FROM frames") == [(at(7),)]
    assert history.select("SELECT track, first_ns, last_ns, frames FROM tracks") == [
        (1, at(7), at(9), 3),
        (2, at(7), at(14), 8),
    ]
    assert [(s.identity, s.first_ns, s.last_ns) for s in history.sightings()] == [
        (7, at(7), at(9)),
        (8, at(7), at(14)),
    ]
    assert count(history, "observations") == 11
    assert database.position(1, 1) == 9  # what was erased is not taken again


def test_people_of_whom_nothing_is_left_are_erased_with_their_appearance(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    walk(database, 1, range(10, 13), 2, 8)
    walk(database, 1, range(4, 6), 3, 0)
    fill(database, 0, Checkpoint({1: (1, 5)}, b"", {7: b"seven", 8: b"eight"}))
    database.erase_before(at(8))
    assert people(history) == [8]
    assert history.select("SELECT track FROM tracks") == [(2,)]
    checkpoint = database.checkpoint()
    assert checkpoint is not None
    assert checkpoint.identities == {8: b"eight"}


def test_a_named_person_keeps_the_last_known_place(database: DatabaseManager, history: History) -> None:
    walk(database, 1, range(3), 1, 7)
    walk(database, 2, range(10, 13), 2, 7)
    fill(database, 0, IdentityEvent(7, "name", 1, NAME))
    database.erase_before(at(100))
    assert (count(history, "frames"), count(history, "observations")) == (0, 0)
    place = history.last_seen(7)
    assert place is not None
    assert (place.name, place.camera, place.t_ns) == (NAME, 2, at(12))
    assert len(history.sightings(7)) == 1


def test_a_kept_place_goes_along_when_its_track_turns_out_to_be_another_persons(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    fill(database, 0, IdentityEvent(7, "follow", 1))
    database.erase_before(at(100))
    fill(database, 1, tracks(stamp(1, 2000), assign=[(1, 9)]))
    assert history.last_seen(7) is None
    assert history.last_seen(9) is not None


def test_a_recording_is_kept_from_when_it_was_stored_however_old_its_own_times_are(
    database: DatabaseManager, history: History
) -> None:
    began_ns = time.time_ns()
    database.set_cameras({1: CameraConfig(1, "old.mp4"), 2: CameraConfig(2, "rtsp://camera.example/2")})
    for camera in (1, 2):
        walk(database, camera, range(10), camera, 6 + camera)
    assert database.erase_before(began_ns) == 10
    assert history.select("SELECT DISTINCT camera FROM frames JOIN sessions USING (session_key)") == [(1,)]
    assert people(history) == [7]
    assert len(history.sightings(7)) == 1
    assert database.erase_before(time.time_ns() + 4 * SECOND_NS) >= 4
    assert 0 < count(history, "frames") < 10
    assert database.erase_before(time.time_ns() + 20 * SECOND_NS) > 0
    assert (count(history, "frames"), count(history, "tracks"), people(history)) == (0, 0, [])


def test_a_recording_of_the_future_is_kept_no_longer_than_its_own_times_say(
    database: DatabaseManager, history: History
) -> None:
    database.set_cameras({1: CameraConfig(1, "future.mp4")})
    ahead = stamp(1, 0, t_ns=time.time_ns() + 3600 * SECOND_NS)
    fill(database, 1, tracks(ahead, [(1, 7)]))
    assert history.select("SELECT lag_ns FROM sessions") == [(0,)]


def test_bounded_calls_come_to_an_end_and_look_through_all_people(
    database: DatabaseManager, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_IDENTITIES_AT_ONCE", 2)
    for identity in range(1, 8):
        walk(database, 1, range(identity, identity + 1), identity, identity)
        fill(database, 1, tracks(stamp(1, 10 * identity + 5), assign=[(identity, 9)]))
    assert count(history, "identities") == 8  # all but 9 have no track any more
    calls = 0
    while database.erase_before(at(0.05), most=100):
        calls += 1
    assert calls <= 8
    assert history.select("SELECT identity FROM identities") == [(9,)]


def test_what_became_of_a_number_is_dropped_when_all_that_was_stored_before_is_erased(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    forget(database, 7)
    walk(database, 1, range(10, 13), 2, 8)
    forget(database, 8)
    assert history.select("SELECT identity FROM replaced_identities") == [(7,), (8,)]
    database.erase_before(at(5))
    assert history.select("SELECT identity FROM replaced_identities") == [(8,)]


def test_an_identity_that_was_erased_comes_back_without_what_was_known_of_it(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    fill(database, 0, Checkpoint({}, b"", {7: b"seven"}))
    database.erase_before(at(100))
    fill(database, 1, tracks(stamp(1, 2000), [(1, 7)], assign=[(1, 7), (99, 7)]))
    assert history.select("SELECT identity, name, followed, state FROM identities") == [(7, "", 0, None)]
    assert history.select("SELECT track, first_ns, frames FROM tracks") == [(1, at(200), 1)]
    assert history.select("PRAGMA foreign_key_check") == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_erased_and_comes_after_every_row_names_rows_that_are_there(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, DatabaseManager(Path(folder)) as database:
        if data.draw(st.booleans()):
            database.set_cameras({1: CameraConfig(1, "old.mp4")})
        numbers = st.integers(1, 4)
        for frame in range(0, data.draw(st.integers(1, 300)), 20):
            camera = data.draw(st.integers(1, 2))
            pairs = st.lists(st.tuples(numbers.map((10 * camera).__add__), st.integers(0, 4)), max_size=3)
            fill(database, camera, tracks(stamp(camera, frame), data.draw(pairs), assign=data.draw(pairs)))
            kind = data.draw(st.sampled_from(["forget", "merge", "name", "", "", ""]))
            if kind:
                value = str(data.draw(numbers)) if kind == "merge" else ""
                fill(database, 0, IdentityEvent(data.draw(numbers), kind, 1, value))
            if data.draw(st.booleans()):
                past_ns = data.draw(st.integers(0, 200)) * SECOND_NS // 10
                database.erase_before(data.draw(st.sampled_from([at(frame / 10), time.time_ns()])) - past_ns)
        with History(Path(folder)) as history:
            assert history.select("PRAGMA foreign_key_check") == []
            assert history.select("SELECT track FROM shown_identities EXCEPT SELECT track FROM tracks") == []
            assert (
                history.select(
                    "SELECT shown FROM shown_observations WHERE shown IN "
                    "(SELECT identity FROM replaced_identities WHERE replacement = 0)"
                )
                == []
            )


def test_a_bounded_call_erases_the_oldest_and_the_calls_end_with_nothing_left(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(10), 1, 7)
    erased = [database.erase_before(at(100), most=4) for _ in range(4)]
    assert erased == [4, 4, 2, 0]
    assert people(history) == []


def test_tracks_of_a_forgotten_person_leave_no_row(database: DatabaseManager, history: History) -> None:
    fill(database, 1, *(tracks(stamp(1, 10 * s), [(1, 7), (2, 8)]) for s in range(5)))
    walk(database, 2, range(5), 3, 7)
    forget(database, 7)
    assert history.select("SELECT DISTINCT track, shown FROM observations") == [(2, 8)]
    assert history.select("SELECT track FROM tracks") == [(2,)]
    assert people(history) == [8]
    assert history.last_seen(7) is None
    assert count(history, "frames") == 10


def test_tracks_once_shown_as_a_forgotten_person_no_longer_say_so(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    fill(database, 1, tracks(stamp(1, 50), assign=[(1, 8)]))
    forget(database, 7)
    assert history.select("SELECT DISTINCT track, shown FROM observations") == [(1, 0)]


def test_a_forgotten_persons_name_and_appearance_are_not_left_in_the_files(
    database: DatabaseManager,
) -> None:
    appearance = b"appearance of seven" * 20
    walk(database, 1, range(3), 1, 7)
    fill(database, 0, IdentityEvent(7, "name", 1, NAME), Checkpoint({}, b"", {7: appearance}))

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(database.path.parent.glob("tracking.db*")))

    assert NAME.encode() in files()
    assert appearance in files()
    forget(database, 7)
    assert NAME.encode() not in files()
    assert appearance not in files()
