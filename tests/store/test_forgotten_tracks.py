"""Messages about the tracks of a forgotten person that arrive late store nothing of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.store.database import DatabaseManager
from services.store.history import History
from shared.messages import IdentityEvent, Message, Settled, Tracks
from tests.store.scene import stamp, tracks

FORGOTTEN, OTHER = 7, 8


def late(which: str) -> Tracks:
    """A frame behind the decision, in which the forgotten person's tracks 1 and 3 are named."""
    if which == "shown":
        return tracks(stamp(1, 2), [(1, 0), (2, OTHER), (3, 0)])
    if which == "assigned":
        return tracks(stamp(1, 2), [(2, OTHER)], assign=[(1, 9), (3, 9)], decision=1)
    turned_out = Settled(
        stamp=stamp(1, 0),
        track_ids=np.array([1, 2, 3], np.int64),
        boxes=np.array([(10, 20, 40, 120)] * 3, np.float32),
        scores=np.full(3, 0.5, np.float32),
        observed=np.ones(3, np.bool_),
        velocities=np.zeros((3, 2), np.float32),
    )
    return replace(tracks(stamp(1, 2), [(2, OTHER)]), settled=(turned_out,))


@pytest.mark.parametrize("apart", [True, False], ids=["in_the_next_transaction", "in_the_same_transaction"])
@pytest.mark.parametrize("which", ["shown", "assigned", "settled"])
def test_late_messages_do_not_bring_back_the_tracks_of_a_forgotten_person(
    database: DatabaseManager, history: History, which: str, apart: bool
) -> None:
    database.commit([(1, 1, 0, tracks(stamp(1, 0), [(1, FORGOTTEN), (2, OTHER)]))])
    forget = IdentityEvent(FORGOTTEN, "forget", 1, tracks=(1, 3))  # 3 has not been stored yet
    sent: list[tuple[int, int, int, Message]] = [(0, 1, 0, forget), (1, 1, 1, late(which))]
    for batch in [sent[:1], sent[1:]] if apart else [sent]:
        database.commit(batch)
    for table in ("tracks", "observations", "sightings", "shown_identities", "early_assignments"):
        assert history.select(f"SELECT DISTINCT track FROM {table} WHERE track != 2") == [], table
    assert [each.identity for each in history.identities()] == [OTHER]
    ((rows,),) = history.select("SELECT count(*) FROM observations WHERE track = 2")
    assert rows == 2
