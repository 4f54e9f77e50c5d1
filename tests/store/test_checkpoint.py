"""The tracker's memory is read in parts, in the order of people's numbers."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from services.store.checkpoint import identity_states
from services.store.database import DatabaseManager
from services.store.history import History
from shared.messages import Checkpoint, IdentityEvent
from tests.store.scene import stamp, tracks

STATES = {2: b"two", 5: b"five5", 7: b"sev", 9: b"a state that is longer than any limit"}


def filled(database: DatabaseManager) -> sqlite3.Connection:
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, 1), (2, 4), (3, 5)]))])
    database.commit([(0, 1, 0, Checkpoint({}, b"state", STATES | {6: b"six"}))])
    database.commit([(0, 1, 1, IdentityEvent(6, "forget", 1))])
    return sqlite3.connect(database.path)


def test_states_come_in_order_in_pages_of_limited_size(database: DatabaseManager) -> None:
    with closing(filled(database)) as connection:
        pages: list[list[int]] = []
        while page := identity_states(connection, pages[-1][-1] if pages else 0, 8):
            pages.append(list(page))
        assert pages == [[2, 5], [7], [9]]
        assert identity_states(connection, 0, 1 << 20) == STATES


def test_people_without_a_state_are_not_looked_at(database: DatabaseManager) -> None:
    with closing(filled(database)) as connection:
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        identity_states(connection, 0, 8)
        connection.set_trace_callback(None)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert plan == ["SEARCH identities USING INDEX identities_with_state (identity>?)"]


def test_numbers_of_assignments_whose_tracks_are_still_to_come_count_as_given_out(
    database: DatabaseManager,
) -> None:
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, 1)], assign=[(20, 30)]))])
    assert database.newest_numbers() == (20, 30)


def test_a_number_that_was_only_shown_counts_as_given_out_after_its_person_was_erased(
    database: DatabaseManager,
) -> None:
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, 9)]))])
    database.commit([(1, 1, 1, tracks(stamp(1, 1), [(1, 2)], assign=[(1, 2)], decision=1))])
    database.erase_before(0)
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT max(identity) FROM identities").fetchone() == (2,)
    assert database.newest_numbers() == (1, 9)


def test_one_persons_memory_is_read_without_the_others(database: DatabaseManager, history: History) -> None:
    filled(database).close()
    checkpoint = history.checkpoint(5)
    assert checkpoint is not None
    assert (checkpoint.state, checkpoint.identities) == (b"state", {5: b"five5"})
