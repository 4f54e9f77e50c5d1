from __future__ import annotations

import numpy as np
import pytest

from services.store import replay as replay_module
from services.store.database import DatabaseManager
from services.store.history import History
from services.store.replay import replay
from shared.codec import decode, encode
from shared.messages import Tracks
from tests.store.scene import SECOND_NS, START_NS, stamp, tracks


def fill(database: DatabaseManager, *sent: Tracks) -> None:
    for message in sent:
        camera, session = message.stamp.camera, message.stamp.session
        database.commit([(camera, session, database.position(camera, session) + 1, message)])


@pytest.fixture(params=[1, 3, 200])
def frames_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_FRAMES_AT_ONCE", request.param)


@pytest.mark.usefixtures("frames_at_once")
def test_frames_come_once_each_by_time_and_camera(database: DatabaseManager, history: History) -> None:
    for camera in (2, 1):
        fill(database, *(tracks(stamp(camera, frame), [(camera, 7)] * (frame % 2)) for frame in range(6)))
    order = [(one.stamp.frame_index, one.stamp.camera, len(one.track_ids)) for one in replay(history)]
    assert order == [(frame, camera, frame % 2) for frame in range(6) for camera in (1, 2)]


def test_a_replayed_frame_is_what_was_sent_with_the_settled_identity(
    database: DatabaseManager, history: History
) -> None:
    sent = tracks(
        stamp(1, 0),
        [(3, 0), (5, 8)],
        boxes=[(1.234, 2.5, 30.017, 99.995), (-4.0, 0.0, 12.0, 40.0)],
        scores=[0.87654, 1.0],
        observed=[True, False],
    )
    fill(database, sent, tracks(stamp(1, 1), assign=[(3, 7)]))
    first = next(iter(replay(history)))
    assert first.stamp == sent.stamp
    assert first.track_ids.tolist() == [3, 5]
    assert first.identity_ids.tolist() == [7, 8]
    assert first.observed.tolist() == [True, False]
    np.testing.assert_allclose(first.boxes, sent.boxes, atol=0.0051)
    np.testing.assert_allclose(first.scores, sent.scores, atol=0.000051)
    np.testing.assert_allclose(first.velocities, sent.velocities)
    # 5 px/s from the foot point, a fifth of a second a step.
    np.testing.assert_allclose(first.paths[1, :2], [(5.0, 41.0), (6.0, 42.0)], rtol=1e-6)


def test_replayed_messages_pass_the_codec(database: DatabaseManager, history: History) -> None:
    fill(database, tracks(stamp(1, 0), [(3, 7)]), tracks(stamp(1, 1)))
    for message in replay(history):
        decoded = decode(encode(message))
        assert isinstance(decoded, Tracks)
        assert decoded.stamp == message.stamp


def test_an_identity_is_never_shown_twice_in_a_frame(database: DatabaseManager, history: History) -> None:
    people = [(1, 7), (2, 8), (3, 9)]
    fill(
        database,
        tracks(stamp(1, 0), people, scores=[0.5, 0.9, 0.95], observed=[True, True, False]),
        tracks(stamp(1, 1), assign=[(1, 8), (3, 8)]),
    )
    assert next(iter(replay(history))).identity_ids.tolist() == [0, 8, 0]


def test_a_time_range_begins_with_its_start_and_ends_before_its_end(
    database: DatabaseManager, history: History
) -> None:
    fill(database, *(tracks(stamp(1, frame)) for frame in range(10)))
    part = replay(history, START_NS + 2 * SECOND_NS // 10, START_NS + 5 * SECOND_NS // 10)
    assert [one.stamp.frame_index for one in part] == [2, 3, 4]


def test_a_replay_in_progress_meets_frames_that_are_committed_meanwhile(
    database: DatabaseManager, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "_FRAMES_AT_ONCE", 1)
    fill(database, *(tracks(stamp(1, frame)) for frame in range(2)))
    running = replay(history)
    assert next(running).stamp.frame_index == 0
    fill(database, tracks(stamp(1, 2)))
    assert [one.stamp.frame_index for one in running] == [1, 2]
