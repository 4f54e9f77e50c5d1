"""What turned out a moment later replaces what was shown, but not the memory of what was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.store.database import DatabaseManager
from services.store.export import export
from services.store.history import History
from services.store.replay import replay
from shared.messages import End, FrameStamp, Settled, Tracks
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
    assert mot(folder, tmp_path / "online", online=True) == ["1,7,11.00", "2,8,20.00", "3,8,30.00"]
    assert [each.track_ids.tolist() for each in replay(history)] == [[1, 3], [1], [3]]


def test_the_end_settles_what_is_left(database: DatabaseManager, history: History, tmp_path: Path) -> None:
    end = End(stamp(1, 1), "finished", "", 2, ((2, 5),), 1, (settled(stamp(1, 1), [(2, 60.0, True)]),))
    send(database, tracks(stamp(1, 0), [(1, 7)]), tracks(stamp(1, 1), [(1, 7)]), end)
    assert mot(history.path.parent, tmp_path) == ["1,7,10.00", "2,5,60.00"]


def test_a_frame_that_is_gone_is_settled_without_effect(database: DatabaseManager, history: History) -> None:
    gone = (settled(stamp(1, 5), [(1, 10.0, True)]),)
    send(database, replace(tracks(stamp(1, 0), [(1, 7)]), settled=gone))
    assert history.select("SELECT count(*) FROM observations") == [(1,)]
