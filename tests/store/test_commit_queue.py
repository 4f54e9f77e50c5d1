"""What may be committed when: a recorded camera's results only with the checkpoint that contains them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from services.store.commit_queue import OWN_STREAM, CommitQueue
from shared.link_receiver import Delivered
from shared.messages import Checkpoint, End, Message
from tests.store.scene import stamp, tracks

SESSION = 5
TRACKER = 9


@dataclass
class Disk:
    """The positions, and the ends of the newest checkpoint, that are committed."""

    positions: dict[tuple[int, int], int] = field(default_factory=dict)
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)

    def queue(self) -> CommitQueue:
        queue = CommitQueue(lambda stream, session: self.positions.get((stream, session), -1), self.ends)
        queue.open(OWN_STREAM, TRACKER, live=False)
        queue.open(1, SESSION, live=False)
        queue.open(2, SESSION, live=True)
        return queue

    def commit(self, queue: CommitQueue) -> list[str]:
        """Commit the batch; what it was, in short."""
        batch = queue.batch()
        for each in batch:
            if not isinstance(each.message, End):
                self.positions[each.stream, each.session] = each.seq
        queue.committed()
        return [f"{type(each.message).__name__} {each.stream}.{each.seq}" for each in batch]


def put(queue: CommitQueue, stream: int, seq: int, message: Message, session: int = SESSION) -> None:
    queue.add(Delivered(stream, session, seq, message))


def result(queue: CommitQueue, stream: int, seq: int, session: int = SESSION) -> None:
    put(queue, stream, seq, tracks(stamp(stream, seq, session=session)), session)


def checkpoint(
    queue: CommitQueue,
    seq: int,
    positions: dict[int, tuple[int, int]],
    ends: dict[int, tuple[int, int]] | None = None,
) -> None:
    put(queue, OWN_STREAM, seq, Checkpoint(positions, b"", ends=ends or {}), TRACKER)


def test_results_of_a_live_camera_are_committed_as_they_come() -> None:
    disk = Disk()
    queue = disk.queue()
    result(queue, 2, 0)
    assert disk.commit(queue) == ["Tracks 2.0"]


def test_results_of_a_recorded_camera_wait_for_the_checkpoint_that_contains_them() -> None:
    disk = Disk()
    queue = disk.queue()
    for seq in range(3):
        result(queue, 1, seq)
    assert disk.commit(queue) == []
    checkpoint(queue, 0, {1: (SESSION, 1)})
    assert disk.commit(queue) == ["Tracks 1.0", "Tracks 1.1", "Checkpoint 0.0"]
    assert len(queue) == 1


def test_a_checkpoint_waits_for_results_that_are_still_on_their_way() -> None:
    disk = Disk()
    queue = disk.queue()
    result(queue, 1, 0)
    checkpoint(queue, 0, {1: (SESSION, 1)})
    assert disk.commit(queue) == []
    result(queue, 1, 1)
    assert disk.commit(queue) == ["Tracks 1.0", "Tracks 1.1", "Checkpoint 0.0"]


def test_positions_that_are_committed_already_are_not_waited_for() -> None:
    disk = Disk({(1, SESSION): 7})
    queue = disk.queue()
    checkpoint(queue, 0, {1: (SESSION, 7), 3: (SESSION, 2)})
    assert disk.commit(queue) == []
    disk.positions[3, SESSION] = 2
    assert disk.commit(queue) == ["Checkpoint 0.0"]


def test_the_end_of_a_recording_is_committed_with_the_checkpoint_that_contains_it() -> None:
    disk = Disk()
    queue = disk.queue()
    result(queue, 1, 0)
    checkpoint(queue, 0, {1: (SESSION, 0)})
    put(queue, 1, 1, End(stamp(1, 0), "finished"))
    assert disk.commit(queue) == ["Tracks 1.0", "Checkpoint 0.0"]
    checkpoint(queue, 1, {1: (SESSION, 0)}, {1: (SESSION, 1)})
    assert disk.commit(queue) == ["End 1.1", "Checkpoint 0.1"]


def test_the_end_of_an_empty_recording_is_committed_too() -> None:
    disk = Disk()
    queue = disk.queue()
    put(queue, 1, 0, End(stamp(1, 0), "finished"))
    checkpoint(queue, 0, {}, {1: (SESSION, 0)})
    assert disk.commit(queue) == ["End 1.0", "Checkpoint 0.0"]


@pytest.mark.parametrize("restarted", [False, True])
def test_an_end_that_comes_behind_its_checkpoint_is_committed_at_once(restarted: bool) -> None:
    disk = Disk({(1, SESSION): 3})
    queue = disk.queue()
    checkpoint(queue, 0, {1: (SESSION, 3)}, {1: (SESSION, 4)})
    assert disk.commit(queue) == ["Checkpoint 0.0"]
    if restarted:
        disk.ends = {1: (SESSION, 4)}
        queue = disk.queue()
    put(queue, 1, 4, End(stamp(1, 3), "finished"))
    assert disk.commit(queue) == ["End 1.4"]


def test_a_frame_that_follows_where_an_end_was_is_not_taken_for_it() -> None:
    disk = Disk({(1, SESSION): 3})
    queue = disk.queue()
    result(queue, 1, 4)
    checkpoint(queue, 0, {1: (SESSION, 3)}, {1: (SESSION, 4)})
    assert disk.commit(queue) == ["Checkpoint 0.0"]


def test_what_is_held_of_a_stream_that_begins_again_is_discarded_for_it_comes_again() -> None:
    disk = Disk()
    queue = disk.queue()
    result(queue, 1, 0)
    queue.open(1, SESSION, live=False)
    checkpoint(queue, 0, {1: (SESSION, 0)})
    assert disk.commit(queue) == []
    result(queue, 1, 0)
    assert disk.commit(queue) == ["Tracks 1.0", "Checkpoint 0.0"]


def test_an_end_that_was_withdrawn_is_not_committed() -> None:
    disk = Disk()
    queue = disk.queue()
    result(queue, 1, 0)
    put(queue, 1, 1, End(stamp(1, 0), "finished"))
    queue.withdraw_end(1, SESSION)
    result(queue, 1, 1)
    checkpoint(queue, 0, {1: (SESSION, 0)}, {1: (SESSION, 1)})
    assert disk.commit(queue) == ["Tracks 1.0", "Checkpoint 0.0"]


def test_when_another_tracker_takes_over_nothing_uncommitted_of_the_last_one_is_committed() -> None:
    disk = Disk()
    queue = disk.queue()
    queue.open(1, SESSION, live=False)
    queue.open(2, SESSION, live=True)
    result(queue, 1, 0)
    assert queue.fence() == [1]
    checkpoint(queue, 0, {1: (SESSION, 0)})  # was on its way
    assert disk.commit(queue) == []
    queue.open(OWN_STREAM, TRACKER + 1, live=False)
    result(queue, 1, 0)
    put(queue, OWN_STREAM, 0, Checkpoint({1: (SESSION, 0)}, b""), TRACKER + 1)
    assert disk.commit(queue) == ["Tracks 1.0", "Checkpoint 0.0"]


def test_results_of_a_session_that_was_replaced_are_committed_with_the_next_checkpoint() -> None:
    disk = Disk()
    queue = disk.queue()
    result(queue, 1, 0)
    queue.open(1, SESSION + 1, live=False)
    result(queue, 1, 0, SESSION + 1)
    checkpoint(queue, 0, {1: (SESSION + 1, 0)})
    assert disk.commit(queue) == ["Tracks 1.0", "Tracks 1.0", "Checkpoint 0.0"]
