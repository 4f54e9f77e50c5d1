from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.store.database import DatabaseManager, Sequenced
from services.store.history import History
from shared.messages import DECISIONS, Checkpoint, End, IdentityEvent, Message, Report
from tests.store.scene import SECOND_NS, START_NS, stamp, tracks

TABLES = (
    "cameras", "sessions", "frames", "identities", "tracks", "observations", "sightings", "positions",
    "checkpoint", "reports", "events", "early_assignments", "replaced_identities",
)  # fmt: skip


def content(batches: Sequence[Sequence[Sequenced]]) -> dict[str, list[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        with DatabaseManager(Path(folder)) as database:
            for batch in batches:
                database.commit(batch)
        with History(Path(folder)) as history:
            return {table: history.select(f"SELECT * FROM {table}") for table in TABLES}


@st.composite
def messages(draw: st.DrawFn, camera: int, seq: int) -> Message:
    kind = draw(st.sampled_from(["tracks"] * 6 + ["end", "checkpoint", "event", "report"]))
    # Some steps are long enough to break a sighting in two, and a clock may be set back.
    t_ns = START_NS + draw(st.integers(-2, 12)) * SECOND_NS + seq * SECOND_NS
    at = stamp(camera, draw(st.sampled_from([seq, seq, seq, 0])), session=draw(st.integers(1, 2)), t_ns=t_ns)
    if kind == "end":
        return End(at, "stopped", "", seq)
    if kind == "checkpoint":
        states = st.dictionaries(st.integers(1, 4), st.binary(max_size=3), max_size=3)
        return Checkpoint({camera: (1, seq)}, draw(st.binary(max_size=4)), draw(states))
    if kind == "event":
        event = draw(st.sampled_from(DECISIONS))
        value = str(draw(st.integers(1, 4))) if event == "merge" else draw(st.text(max_size=3))
        return IdentityEvent(draw(st.integers(1, 4)), event, t_ns, value)
    if kind == "report":
        return Report("ingest", camera, "edge", 1, t_ns, "running", {"rss_bytes": float(seq)})
    people = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), max_size=4))
    observed = draw(st.lists(st.booleans(), min_size=len(people), max_size=len(people)))
    assign = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), max_size=3))
    return tracks(at, people, observed=observed, assign=assign, decision=draw(st.integers(0, 3)))


@st.composite
def streams(draw: st.DrawFn) -> list[Sequenced]:
    sent: list[Sequenced] = []
    next_seq = {1: 0, 2: 0}
    for camera in draw(st.lists(st.integers(1, 2), min_size=1, max_size=25)):
        seq = next_seq[camera]
        next_seq[camera] += 1
        sent.append((camera, 1, seq, draw(messages(camera, seq))))
    return sent


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Sequenced], list[list[Sequenced]]]:
    """What was sent, and the batches in which it arrives, each begun with some of what came before."""
    sent = draw(streams())
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    batches = []
    for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        again = draw(st.integers(0, start))
        batches.append(sent[start - again : stop])
    return sent, batches


@settings(max_examples=60, deadline=None)
@given(deliveries())
def test_any_cut_into_batches_with_any_repeats_stores_the_same(
    delivery: tuple[list[Sequenced], list[list[Sequenced]]],
) -> None:
    sent, batches = delivery
    assert content(batches) == content([[one] for one in sent])


def rows(database: DatabaseManager, history: History, sent: Sequence[Message], sql: str) -> list[Any]:
    start = database.position(1, 1) + 1
    database.commit([(1, 1, start + n, message) for n, message in enumerate(sent)])
    return history.select(sql)


SIGHTINGS = "SELECT track, identity, first_ns, last_ns FROM sightings ORDER BY track, first_ns"


def seconds(value: float) -> int:
    return START_NS + round(value * SECOND_NS)


def test_a_gap_of_more_than_five_seconds_begins_a_new_sighting(
    database: DatabaseManager, history: History
) -> None:
    sent = [tracks(stamp(1, frame), [(3, 7)]) for frame in (0, 10, 60, 111, 120)]
    assert rows(database, history, sent, SIGHTINGS) == [
        (3, 7, seconds(0), seconds(6)),
        (3, 7, seconds(11.1), seconds(12)),
    ]


def test_a_clock_that_is_set_back_does_not_take_the_end_of_a_sighting_back(
    database: DatabaseManager, history: History
) -> None:
    set_back = stamp(1, 21, t_ns=seconds(-30))
    sent = [tracks(stamp(1, 0), [(3, 7)]), tracks(stamp(1, 20), [(3, 7)]), tracks(set_back, [(3, 7)])]
    assert rows(database, history, sent, SIGHTINGS) == [(3, 7, seconds(0), seconds(2))]
    assert history.select("SELECT first_ns, last_ns, frames FROM tracks") == [(seconds(-30), seconds(2), 3)]


def test_a_box_that_is_only_predicted_is_no_sighting(database: DatabaseManager, history: History) -> None:
    sent = [tracks(stamp(1, frame), [(3, 7)], observed=[frame < 2]) for frame in range(4)]
    assert rows(database, history, sent, SIGHTINGS) == [(3, 7, seconds(0), seconds(0.1))]
    assert history.select("SELECT frames, last_ns FROM tracks") == [(2, seconds(0.3))]


def test_an_assignment_takes_the_tracks_whole_history_along(
    database: DatabaseManager, history: History
) -> None:
    sent = [tracks(stamp(1, frame), [(3, 7)]) for frame in (0, 100, 200)]
    assert len(rows(database, history, sent, SIGHTINGS)) == 3
    late = [tracks(stamp(1, 300), assign=[(3, 5)])]
    assert {row[:2] for row in rows(database, history, late, SIGHTINGS)} == {(3, 5)}
    assert history.select("SELECT identity FROM tracks") == [(5,)]
    assert history.select("SELECT DISTINCT shown FROM observations") == [(7,)]


def test_a_track_without_identity_becomes_somebodys_when_one_is_shown(
    database: DatabaseManager, history: History
) -> None:
    undecided = [tracks(stamp(1, 0), [(3, 0)])]
    assert rows(database, history, undecided, SIGHTINGS) == [(3, None, seconds(0), seconds(0))]
    decided = [tracks(stamp(1, 1), [(3, 7)])]
    assert rows(database, history, decided, SIGHTINGS) == [(3, 7, seconds(0), seconds(0.1))]
    open_again = [tracks(stamp(1, 2), assign=[(3, 0)])]
    assert rows(database, history, open_again, SIGHTINGS) == [(3, None, seconds(0), seconds(0.1))]


def test_an_assignment_of_a_track_nobody_saw_changes_nothing(
    database: DatabaseManager, history: History
) -> None:
    assert rows(database, history, [tracks(stamp(1, 0), assign=[(3, 5)])], "SELECT * FROM tracks") == []


def test_identities_are_the_same_in_whatever_order_the_cameras_streams_come() -> None:
    shown = tracks(stamp(1, 0), [(3, 7)], decision=1)
    corrected = tracks(stamp(2, 1), assign=[(3, 5)], decision=2)
    found = []
    for sent in ([(1, 1, 0, shown), (2, 1, 0, corrected)], [(2, 2, 0, corrected), (1, 2, 0, shown)]):
        with tempfile.TemporaryDirectory() as folder:
            with DatabaseManager(Path(folder)) as each:
                for one in sent:
                    each.commit([one])
            with History(Path(folder)) as stored:
                found.append([stored.select("SELECT identity FROM tracks"), stored.select(SIGHTINGS)])
                assert stored.select("SELECT * FROM early_assignments") == []
    assert found[0] == found[1]
    assert found[0][0] == [(5,)]


def test_a_track_twice_in_one_message_is_stored_once(database: DatabaseManager, history: History) -> None:
    sent = [tracks(stamp(1, 0), [(3, 7), (3, 8)])]
    assert rows(database, history, sent, "SELECT track, shown FROM observations") == [(3, 7)]
    assert history.select("SELECT frames FROM tracks") == [(1,)]


def test_boxes_far_outside_any_picture_are_stored_without_overflow(
    database: DatabaseManager, history: History
) -> None:
    largest = float(np.finfo(np.float32).max)
    sent = [tracks(stamp(1, 0), [(3, 7)], boxes=[(-largest, 0.0, largest, 1.0)])]
    sql = "SELECT x0, y0, x1, y1 FROM observations"
    assert rows(database, history, sent, sql) == [(-1_000_000_000, 0, 1_000_000_000, 100)]
