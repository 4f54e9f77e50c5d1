"""What turned out a moment later replaces what was shown, but not the memory of what was shown."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.store.database import DatabaseManager
from services.store.export import export
from services.store.history import History
from services.store.replay import replay
from shared.messages import End, FrameStamp, IdentityEvent, Settled, Tracks
from tests.store.scene import stamp, tracks


def settled(at: FrameStamp, people: Sequence[tuple[int, float, bool]]) -> Settled:
    """A frame with (track, left side, observed)."""
    return Settled(
        stamp=at,
        track_ids=np.array([track for track, _, _ in people], np.int64),
        boxes=np.array([(x, 20, x + 30, 120) for _, x, _ in people], np.float32).reshape(-1, 4),
        scores=np.full(len(people), 0.5, np.float32),
        observed=np.array([seen for _, _, seen in people], np.bool_),
        velocities=np.zeros((len(people), 2), np.float32),
    )


def send(database: DatabaseManager, *messages: Tracks | End) -> None:
    first = database.position(1, 1) + 1
    database.commit([(1, 1, first + n, message) for n, message in enumerate(messages)])


def mot(folder: Path, out: Path, *, online: bool = False) -> list[str]:
    export(folder, "mot", out, online=online)
    return [",".join(row.split(",")[:3]) for row in (out / "cam1.txt").read_text().splitlines()]


def test_history_is_what_turned_out_and_online_what_was_shown(
    database: DatabaseManager, history: History, tmp_path: Path
) -> None:
    shown = [
        tracks(stamp(1, 0), [(1, 7)]),
        tracks(stamp(1, 1), [(1, 7), (2, 8)]),
        tracks(stamp(1, 2), [(3, 8)], assign=[(3, 9)]),
    ]
    turned_out = (
        settled(stamp(1, 0), [(1, 11.0, True), (3, 50.0, True)]),
        settled(stamp(1, 1), [(1, 12.0, False)]),
    )
    send(database, *shown[:2], replace(shown[2], settled=turned_out))
    folder = history.path.parent
    assert mot(folder, tmp_path / "settled") == ["1,7,11.00", "1,9,50.00", "2,7,12.00", "3,9,30.00"]
    shown_then = ["1,7,10.00", "2,7,10.00", "2,8,20.00", "3,8,30.00"]
    assert mot(folder, tmp_path / "online", online=True) == shown_then
    assert [each.track_ids.tolist() for each in replay(history)] == [[1, 3], [1], [3]]


def test_the_end_settles_what_is_left(database: DatabaseManager, history: History, tmp_path: Path) -> None:
    end = End(stamp(1, 1), "finished", "", 2, ((2, 5),), 1, (settled(stamp(1, 1), [(2, 60.0, True)]),))
    send(database, tracks(stamp(1, 0), [(1, 7)]), tracks(stamp(1, 1), [(1, 7)]), end)
    assert mot(history.path.parent, tmp_path) == ["1,7,10.00", "2,5,60.00"]


def test_a_frame_that_is_gone_is_settled_without_effect(database: DatabaseManager, history: History) -> None:
    gone = (settled(stamp(1, 5), [(1, 10.0, True)]),)
    send(database, replace(tracks(stamp(1, 0), [(1, 7)]), settled=gone))
    assert history.select("SELECT count(*) FROM observations") == [(1,)]


def test_a_box_stays_as_it_was_shown_when_it_turns_out_to_have_been_elsewhere(
    database: DatabaseManager, tmp_path: Path
) -> None:
    shown = tracks(stamp(1, 0), [(1, 7)], boxes=[(100, 20, 130, 120)], scores=[0.8])
    later = tracks(stamp(1, 20), [(1, 7)])
    send(database, shown, replace(later, settled=(settled(stamp(1, 0), [(1, 130.0, True)]),)))
    folder = database.path.parent
    assert mot(folder, tmp_path / "online", online=True)[0] == "1,7,100.00"
    assert mot(folder, tmp_path / "settled")[0] == "1,7,130.00"


def test_online_csv_has_everybody_who_was_shown_with_nothing_that_came_later(
    database: DatabaseManager, tmp_path: Path
) -> None:
    shown = tracks(
        stamp(1, 0), [(1, 7), (2, 0), (3, 8)], scores=[0.8, 0.7, 0.6], observed=[True, True, False]
    )
    turned_out = (settled(stamp(1, 0), [(1, 11.0, False), (4, 90.0, True)]),)
    send(database, shown, replace(tracks(stamp(1, 1), assign=[(1, 9), (2, 9)]), settled=turned_out))
    database.commit([(0, 1, 0, IdentityEvent(9, "name", 1, "Ada"))])
    export(database.path.parent, "csv", tmp_path / "out", online=True)
    header, *rows = (tmp_path / "out" / "observations.csv").read_text().splitlines()
    assert header.split(",")[4:] == [
        "frame_index", "track", "identity", "x0", "y0", "x1", "y1", "score", "observed"
    ]  # fmt: skip
    assert [row.split(",", 4)[4] for row in rows] == [
        "0,1,7,10.00,20.00,40.00,120.00,0.8000,1",
        "0,2,,20.00,20.00,50.00,120.00,0.7000,1",
        "0,3,8,30.00,20.00,60.00,120.00,0.6000,0",
    ]


def test_a_merge_does_not_change_the_number_under_which_somebody_was_shown(
    database: DatabaseManager, tmp_path: Path
) -> None:
    send(database, tracks(stamp(1, 0), [(1, 9)]))
    database.commit([(0, 1, 0, IdentityEvent(7, "merge", 1, "9"))])
    send(database, tracks(stamp(1, 1), [(1, 9)]))  # was on its way
    folder = database.path.parent
    assert mot(folder, tmp_path / "online", online=True) == ["1,9,10.00", "2,9,10.00"]
    assert mot(folder, tmp_path / "settled") == ["1,7,10.00", "2,7,10.00"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_turns_out_later_online_has_exactly_what_was_shown(data: st.DataObject) -> None:
    frames = data.draw(st.integers(1, 6))
    sent: list[Tracks] = []
    for frame in range(frames):
        people = data.draw(st.dictionaries(st.integers(1, 4), st.integers(0, 3), max_size=4))
        lefts = data.draw(st.lists(st.integers(0, 500), min_size=len(people), max_size=len(people)))
        boxes = [(float(x), 20.0, x + 30.0, 120.0) for x in lefts]
        seen = data.draw(st.lists(st.booleans(), min_size=len(people), max_size=len(people)))
        others = data.draw(st.dictionaries(st.integers(1, 5), st.integers(0, 500), max_size=4))
        placed = [(track, float(x), True) for track, x in others.items()]
        turned_out = (settled(stamp(1, frame - 1), placed),) if frame else ()
        shown = tracks(stamp(1, frame), list(people.items()), boxes=boxes, observed=seen)
        sent.append(replace(shown, settled=turned_out))
    with tempfile.TemporaryDirectory() as folder:
        with DatabaseManager(Path(folder)) as database:
            send(database, *sent)
        export(Path(folder), "csv", Path(folder) / "out", online=True)
        rows = (Path(folder) / "out" / "observations.csv").read_text().splitlines()[1:]
    assert [tuple(row.split(",")[n] for n in (4, 5, 6, 7, 12)) for row in rows] == [
        (str(frame), str(track), str(identity or ""), f"{x:.2f}", str(int(seen)))
        for frame, each in enumerate(sent)
        for track, identity, x, seen in sorted(
            zip(
                each.track_ids.tolist(),
                each.identity_ids.tolist(),
                each.boxes[:, 0].tolist(),
                each.observed.tolist(),
                strict=True,
            )
        )
    ]
