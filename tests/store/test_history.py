from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.store import history as history_module
from services.store.database import DatabaseManager
from services.store.history import Box, History, Sighting, crossings, joined
from shared.config import CameraConfig
from shared.errors import StorageError
from shared.messages import Checkpoint, IdentityEvent, Message
from tests.store.scene import SECOND_NS, START_NS, stamp, tracks


def at(second: float) -> int:
    return START_NS + round(second * SECOND_NS)


def fill(database: DatabaseManager, *sent: tuple[int, Message]) -> None:
    for camera, message in sent:
        seq = database.position(camera, 1) + 1
        database.commit([(camera, 1, seq, message)])


def walk(database: DatabaseManager, camera: int, seconds: range, track: int, identity: int) -> None:
    fill(database, *((camera, tracks(stamp(camera, 10 * s), [(track, identity)])) for s in seconds))


def visits(history: History, identity: int) -> list[tuple[int, int, int]]:
    return [
        (one.camera, (one.first_ns - START_NS) // SECOND_NS, (one.last_ns - START_NS) // SECOND_NS)
        for one in history.sightings(identity)
    ]


def test_a_person_was_last_seen_where_the_newest_box_is(database: DatabaseManager, history: History) -> None:
    database.set_cameras({2: CameraConfig(2, "b.mp4", "hall")})
    walk(database, 1, range(3), 1, 7)
    walk(database, 2, range(3, 6), 2, 7)
    fill(database, (0, IdentityEvent(7, "name", 1, "Ada")))
    place = history.last_seen(7)
    assert place is not None
    assert (place.camera, place.camera_name, place.name, place.t_ns) == (2, "hall", "Ada", at(5))
    assert place.box == Box(20.0, 20.0, 50.0, 120.0)
    assert (place.x, place.y) == (35.0, 120.0)
    assert place.score == 0.5


def test_a_person_nobody_knows_was_never_seen(history: History) -> None:
    assert history.last_seen(7) is None
    assert history.sightings(7) == []


def test_the_last_place_is_one_search_of_one_index(
    database: DatabaseManager, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    select = history.select

    def listening(sql: str, *values: int) -> list[Any]:
        asked.append(sql)
        return select(sql, *values)

    monkeypatch.setattr(history, "select", listening)
    history.last_seen(7)
    (sql,) = asked
    plan = [row[3] for row in select(f"EXPLAIN QUERY PLAN {sql}", 7)]
    assert plan[0] == "SEARCH s USING INDEX sightings_of_identity (identity=?)"
    assert not any("SCAN" in step for step in plan)


def test_tracks_that_follow_one_another_within_five_seconds_are_one_sighting(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(4), 1, 7)
    walk(database, 1, range(8, 10), 2, 7)
    walk(database, 1, range(15, 17), 3, 7)
    assert visits(history, 7) == [(1, 0, 9), (1, 15, 16)]


def test_somebody_who_was_elsewhere_in_between_is_seen_twice_and_never_in_two_places_at_once(
    database: DatabaseManager, history: History
) -> None:
    database.set_cameras({1: CameraConfig(1, "a", "East"), 2: CameraConfig(2, "b", "Middle")})
    for camera, track, first, last in ((1, 1, 37.7, 41.8), (2, 2, 42.8, 45.0), (1, 3, 45.8, 65.8)):
        frames = range(round(first * 10), round(last * 10) + 1)
        fill(database, *((camera, tracks(stamp(camera, frame), [(track, 7)])) for frame in frames))
    assert [(one.camera_name, one.first_ns, one.last_ns) for one in history.sightings(7)] == [
        ("East", at(37.7), at(41.8)),
        ("Middle", at(42.8), at(45.0)),
        ("East", at(45.8), at(65.8)),
    ]
    assert crossings(history.sightings(7)) == history.sightings(7)


def test_a_camera_that_sees_the_same_place_does_not_end_the_others_sighting(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(5), 1, 7)
    walk(database, 2, range(3, 7), 2, 7)  # began while camera 1 saw the person
    walk(database, 1, range(8, 12), 3, 7)
    assert visits(history, 7) == [(1, 0, 11), (2, 3, 6)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 6), st.integers(1, 6)), max_size=12))
def test_who_was_in_one_place_at_a_time_has_no_overlapping_sightings_in_two_cameras(
    stays: list[tuple[int, int, int]],
) -> None:
    presences, t_ns = [], 0
    for camera, length_s, gap_s in stays:
        presences.append((camera, t_ns, t_ns + length_s * SECOND_NS))
        t_ns += (length_s + gap_s) * SECOND_NS
    box = Box(0, 0, 1, 1)
    found = joined(Sighting(7, camera, "", first, last, box, 1.0) for camera, first, last in presences)
    for one, other in combinations(found, 2):
        assert one.last_ns < other.first_ns or other.last_ns < one.first_ns
    assert {(each.camera, each.first_ns) for each in found} <= {each[:2] for each in presences}


def test_a_short_track_inside_a_longer_one_does_not_end_the_sighting(
    database: DatabaseManager, history: History
) -> None:
    fill(
        database,
        *((1, tracks(stamp(1, 10 * s), [(1, 7), (2, 8)] if 3 < s < 6 else [(1, 7)])) for s in range(20)),
        (1, tracks(stamp(1, 230), assign=[(2, 7)])),
    )
    assert visits(history, 7) == [(1, 0, 19)]
    assert visits(history, 8) == []


def test_a_merge_of_two_people_moves_all_that_was_seen(database: DatabaseManager, history: History) -> None:
    walk(database, 1, range(3), 1, 7)
    walk(database, 2, range(5, 8), 2, 8)
    fill(database, (1, tracks(stamp(1, 300), assign=[(2, 7)])))
    assert visits(history, 7) == [(1, 0, 2), (2, 5, 7)]
    assert [person.identity for person in history.identities()] == [7]
    assert history.last_seen(8) is None


def test_crossings_join_what_happened_in_one_camera_before_the_next(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    walk(database, 1, range(20, 23), 2, 7)
    walk(database, 2, range(30, 33), 3, 7)
    walk(database, 1, range(40, 43), 4, 7)
    crossed = crossings(history.sightings(7))
    assert [(one.camera, one.first_ns, one.last_ns) for one in crossed] == [
        (1, at(0), at(22)),
        (2, at(30), at(32)),
        (1, at(40), at(42)),
    ]


def test_everybody_is_listed_with_their_first_and_last_time(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 1, range(3), 1, 7)
    walk(database, 2, range(1, 6), 2, 7)
    walk(database, 1, range(4, 6), 3, 0)
    fill(database, (0, IdentityEvent(9, "follow", 1)))
    people = history.identities()
    assert [(one.identity, one.followed, one.first_ns, one.last_ns) for one in people] == [
        (7, False, at(0), at(5)),
        (9, True, None, None),
    ]


def test_everybody_comes_once_however_small_the_pages(
    database: DatabaseManager, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for identity in (3, 5, 8):
        walk(database, 1, range(identity, identity + 2), identity, identity)
    fill(database, (0, IdentityEvent(4, "follow", 1)), (0, IdentityEvent(8, "name", 1, "Ada")))
    everybody = history.identities()
    monkeypatch.setattr(history_module, "_IDENTITIES_AT_ONCE", 1)
    assert history.identities() == everybody
    assert [one.identity for one in everybody] == [3, 4, 5, 8]


def test_the_latest_are_those_who_were_seen_last(database: DatabaseManager, history: History) -> None:
    for identity, second in ((3, 20), (5, 0), (8, 10)):
        walk(database, 1, range(second, second + 2), identity, identity)
    fill(database, (0, IdentityEvent(4, "follow", 1)), (0, IdentityEvent(8, "name", 1, "Ada")))
    assert [(one.identity, one.name) for one in history.latest_identities(2)] == [(3, ""), (8, "Ada")]
    assert history.marked_identities() == {4: "", 8: "Ada"}
    assert history.people_count() == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda history: history.marked_identities(),
        lambda history: history.followed(),
        lambda history: history.checkpoint(),
        lambda history: next(history.each_identity(), None),
    ],
)
def test_what_few_have_is_found_without_looking_through_everybody(
    database: DatabaseManager,
    history: History,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[History], object],
) -> None:
    database.commit([(0, 1, 0, Checkpoint({}, b""))])
    asked: list[str] = []
    connection = sqlite3.connect(history.path)
    connection.set_trace_callback(asked.append)
    monkeypatch.setattr(history, "_connection", connection)
    ask(history)
    connection.set_trace_callback(None)
    plans = [row[3] for sql in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    connection.close()
    scans = [plan for plan in plans if plan.startswith("SCAN") and "page" not in plan]
    assert {scan for scan in scans if "INDEX" not in scan} <= {"SCAN checkpoint"}


def test_a_camera_that_nobody_configured_has_a_name_of_its_own(
    database: DatabaseManager, history: History
) -> None:
    walk(database, 3, range(1), 1, 7)
    assert history.cameras()[3].title == "camera 3"
    assert history.sightings()[0].camera_name == "camera 3"


def test_a_folder_without_a_run_is_one_clear_error_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"tracking\.db: no such database"):
        History(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_read_from_a_copy_of_its_file(tmp_path: Path) -> None:
    with DatabaseManager(tmp_path / "run") as database:
        walk(database, 1, range(3), 1, 7)
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "run" / "tracking.db", tmp_path / "copy")
    with History(tmp_path / "copy") as history:
        assert visits(history, 7) == [(1, 0, 2)]


def test_a_finished_run_is_read_from_a_medium_that_cannot_be_written(small_disk: Path) -> None:
    with DatabaseManager(small_disk) as database:
        walk(database, 1, range(3), 1, 7)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with History(small_disk) as history:
        assert visits(history, 7) == [(1, 0, 2)]
