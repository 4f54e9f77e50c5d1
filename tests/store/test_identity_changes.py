"""An operator's decisions, on all that is stored."""

from __future__ import annotations

from services.store.database import DatabaseManager
from services.store.history import History
from shared.messages import IdentityEvent
from tests.store.scene import START_NS, stamp, tracks


def decide(database: DatabaseManager, identity: int, kind: str, value: str = "") -> None:
    number = database.position(0, 1) + 1
    database.commit([(0, 1, number, IdentityEvent(identity, kind, START_NS, value))])


def send(database: DatabaseManager, camera: int, frame: int, *people: tuple[int, int]) -> None:
    number = database.position(camera, 1) + 1
    database.commit([(camera, 1, number, tracks(stamp(camera, frame), people))])


def whose(history: History) -> dict[int, int | None]:
    assert history.select("SELECT DISTINCT track, identity FROM sightings ORDER BY track") == history.select(
        "SELECT track, identity FROM tracks ORDER BY track"
    )
    return dict(history.select("SELECT track, identity FROM tracks"))


def test_what_was_two_identities_is_one_from_the_first_frame_on(
    database: DatabaseManager, history: History
) -> None:
    send(database, 1, 0, (1, 7))
    send(database, 2, 5, (2, 9))
    decide(database, 9, "name", "Ada")
    decide(database, 9, "follow")
    decide(database, 7, "merge", "9")
    assert whose(history) == {1: 7, 2: 7}
    assert [(each.identity, each.name, each.followed) for each in history.identities()] == [(7, "Ada", True)]
    place = history.last_seen(7)
    assert place is not None and place.camera == 2


def test_a_message_on_its_way_that_still_names_the_old_identity_means_the_new_one(
    database: DatabaseManager, history: History
) -> None:
    send(database, 1, 0, (1, 7), (2, 9))
    decide(database, 7, "merge", "9")
    decide(database, 5, "merge", "7")
    send(database, 2, 1, (3, 9))
    assert whose(history) == {1: 5, 2: 5, 3: 5}
    assert [each.identity for each in history.identities()] == [5]


def test_who_is_forgotten_leaves_nothing_behind_even_where_messages_still_come(
    database: DatabaseManager, history: History
) -> None:
    send(database, 1, 0, (1, 7), (2, 8))
    decide(database, 7, "forget")
    send(database, 2, 1, (3, 7))
    assert whose(history) == {2: 8, 3: None}
    assert [each.identity for each in history.identities()] == [8]
    assert history.select("SELECT count(*) FROM observations WHERE shown = 7") == [(0,)]


def test_decisions_in_one_commit_with_the_tracks_they_are_about_have_the_same_effect(
    database: DatabaseManager, history: History
) -> None:
    seen = tracks(stamp(1, 0), [(1, 7), (2, 9)])
    merged = IdentityEvent(7, "merge", START_NS, "9")
    gone = IdentityEvent(7, "forget", START_NS)
    database.commit([(1, 1, 0, seen), (0, 1, 0, merged), (1, 1, 1, tracks(stamp(1, 1), [(2, 9)]))])
    assert whose(history) == {1: 7, 2: 7}
    assert history.select("SELECT frames FROM tracks ORDER BY track") == [(1,), (2,)]
    database.commit([(0, 1, 1, gone)])
    assert whose(history) == {}


def test_a_merge_that_names_no_identity_changes_nothing(database: DatabaseManager, history: History) -> None:
    send(database, 1, 0, (1, 7))
    for value in ("", "-1", "seven", "9" * 40):
        decide(database, 7, "merge", value)
    assert whose(history) == {1: 7}
