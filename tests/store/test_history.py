from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.store.database import DatabaseManager
from services.store.history import Box, History, crossings
from shared.config import CameraConfig
from shared.errors import StorageError
from shared.messages import IdentityEvent, Message
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
