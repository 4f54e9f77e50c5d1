from __future__ import annotations

import pytest

from services.store import database as database_module
from services.store.database import DatabaseManager
from services.store.history import History
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
