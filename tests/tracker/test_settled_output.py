"""What the tracker tells of earlier frames: each once, in order, soon, and with what was learned since."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.core import SETTLE_S, TrackerCore
from shared.codec import encode
from shared.config import Config
from shared.messages import End, People, Settled
from tests.tracker.scene import START_NS, people, world
from tests.tracker.test_core import walk


def told(messages: list[People], core: TrackerCore | None = None) -> list[Settled]:
    """Everything that is settled, to the end of every camera."""
    core = core or TrackerCore(Config())
    found: list[Settled] = []
    last = {}
    for message in messages:
        found += core.process(message).settled
        last[message.stamp.camera] = message.stamp
    for _, stamp in sorted(last.items()):
        found += core.end(End(stamp, "finished")).settled
    return found


@settings(max_examples=15)
@given(seed=st.integers(0, 1 << 16), cut=st.integers(1, 110))
def test_every_frame_is_settled_once_and_in_order_also_when_the_tracker_was_restarted(
    seed: int, cut: int
) -> None:
    messages = world(seed, frames=60)
    core = TrackerCore(Config())
    found = [each for message in messages[:cut] for each in core.process(message).settled]
    found += told(messages[cut:], TrackerCore.restore(Config(), *core.snapshot()))
    for camera in (1, 2):
        mine = [each.stamp.frame_index for each in found if each.stamp.camera == camera]
        sent = [each.stamp.frame_index for each in messages if each.stamp.camera == camera]
        assert mine == sent
    assert [encode_settled(each) for each in found] == [encode_settled(each) for each in told(messages)]


def encode_settled(settled: Settled) -> bytes:
    stamp = settled.stamp
    end = End(stamp, "finished", settled=(settled,))
    return b"".join(bytes(part) for part in encode(end))


@settings(max_examples=10)
@given(seed=st.integers(0, 1 << 16))
def test_nothing_waits_longer_than_the_delay(seed: int) -> None:
    core = TrackerCore(Config())
    for message in world(seed, frames=60):
        for each in core.process(message).settled:
            assert message.stamp.t_ns - each.stamp.t_ns <= SETTLE_S * 1e9


def test_a_short_gap_is_filled_on_the_way_that_was_walked() -> None:
    messages = walk(1, 1, range(0, 40), step=10.0)
    for n in (18, 19, 20):
        messages[n] = people([], frame=n)
    found = {each.stamp.frame_index: each for each in told(messages)}
    for n in (18, 19, 20):
        assert found[n].track_ids.tolist() == [1]
        assert not found[n].observed.any()
        np.testing.assert_allclose(found[n].boxes[0], [n * 10, 200, n * 10 + 60, 380], atol=3)


def test_a_track_is_told_from_its_first_frame_on() -> None:
    messages = walk(1, 1, range(0, 40))
    core = TrackerCore(Config())
    assert not len(core.process(messages[0]).track_ids), "online it is not sure yet"
    assert told(messages)[0].track_ids.tolist() == [1]


def test_a_new_session_settles_what_was_left_of_the_old_one() -> None:
    first = walk(1, 1, range(0, 15))
    second = [
        dataclasses.replace(each, stamp=dataclasses.replace(each.stamp, session=1, t_ns=START_NS + n))
        for n, each in enumerate(walk(1, 1, range(0, 2)))
    ]
    found = told(first + second)
    sessions = [(each.stamp.session, each.stamp.frame_index) for each in found]
    assert sessions == [(0, n) for n in range(15)] + [(1, 0), (1, 1)]
