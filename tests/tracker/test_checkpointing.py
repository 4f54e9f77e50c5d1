"""Only what is on the disk is answered for, and one checkpoint is on its way at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.checkpointing import Checkpointer, Position

SESSION = 7
CAMERAS = (1, 2)


def snapshot() -> tuple[bytes, dict[int, bytes]]:
    return b"state", {1: b"one"}


def nothing_durable(camera: int, session: int) -> int:
    return 0


def all_durable(camera: int, session: int) -> int:
    return 1 << 60


def test_a_checkpoint_is_due_after_so_many_frames() -> None:
    checkpoints = Checkpointer({}, every=3, idle_s=1000.0, longest_s=1000.0)
    for seq in range(2):
        checkpoints.processed(1, SESSION, seq, now_s=0.0)
        checkpoints.take(0.0, snapshot)
        assert checkpoints.sendable(all_durable) is None
    checkpoints.processed(1, SESSION, 2, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    checkpoint = checkpoints.sendable(all_durable)
    assert checkpoint is not None
    assert (checkpoint.positions, checkpoint.state, checkpoint.identities) == (
        {1: (SESSION, 2)},
        b"state",
        {1: b"one"},
    )


def test_a_checkpoint_is_due_when_nothing_more_comes_for_a_while() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=0.2, longest_s=1000.0)
    checkpoints.take(50.0, snapshot)
    assert checkpoints.sendable(all_durable) is None
    checkpoints.processed(1, SESSION, 0, now_s=50.0)
    checkpoints.take(50.1, snapshot)
    assert checkpoints.sendable(all_durable) is None
    checkpoints.take(50.2, snapshot)
    assert checkpoints.sendable(all_durable) is not None


def test_a_checkpoint_is_due_at_the_end_of_a_camera() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=1000.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 0, now_s=0.0, last=True)
    checkpoints.take(0.0, snapshot)
    assert checkpoints.sendable(all_durable) is not None


def test_a_checkpoint_is_due_even_where_frames_never_pause() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=0.2, longest_s=2.0)
    for tenth in range(20):
        checkpoints.changed(tenth / 10)
        checkpoints.take(tenth / 10, snapshot)
        assert checkpoints.sendable(all_durable) is None
    checkpoints.changed(2.0)
    checkpoints.take(2.0, snapshot)
    assert checkpoints.sendable(all_durable) is not None


def test_a_checkpoint_waits_until_the_tracks_it_contains_are_durable() -> None:
    checkpoints = Checkpointer({}, every=1, idle_s=1.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 4, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    assert checkpoints.sendable(nothing_durable) is None
    assert checkpoints.sendable(lambda camera, session: 4) is None  # 4 itself is not below 4
    assert checkpoints.sendable(lambda camera, session: 5) is not None


def test_nothing_is_answered_for_before_the_checkpoint_is_sent_and_durable() -> None:
    checkpoints = Checkpointer({}, every=1, idle_s=1.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 4, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    assert checkpoints.acknowledged(1 << 60) is None
    assert checkpoints.sendable(all_durable) is not None
    checkpoints.sent(9)
    assert checkpoints.sendable(all_durable) is None
    assert checkpoints.acknowledged(9) is None
    assert checkpoints.acknowledged(10) == {1: (SESSION, 4)}
    assert checkpoints.acknowledged(11) is None


def test_what_is_processed_after_a_checkpoint_was_taken_is_not_in_it() -> None:
    checkpoints = Checkpointer({}, every=1, idle_s=1.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 0, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    checkpoints.processed(1, SESSION, 1, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    checkpoint = checkpoints.sendable(all_durable)
    assert checkpoint is not None
    assert checkpoint.positions == {1: (SESSION, 0)}


def test_an_operators_decision_alone_is_written_down_too() -> None:
    checkpoints = Checkpointer({1: (SESSION, 5)}, every=100, idle_s=0.2, longest_s=1000.0)
    checkpoints.changed(1.0)
    checkpoints.take(1.3, snapshot)
    checkpoint = checkpoints.sendable(all_durable)
    assert checkpoint is not None
    assert checkpoint.positions == {1: (SESSION, 5)}


def test_a_stream_goes_on_behind_what_the_memory_contains() -> None:
    checkpoints = Checkpointer({1: (SESSION, 5)}, every=1, idle_s=1.0, longest_s=1000.0)
    assert checkpoints.position(1, SESSION) == 6
    assert checkpoints.position(1, SESSION + 1) == 0
    assert checkpoints.position(2, SESSION) == 0


@dataclass
class Disk:
    """What the store has: results by camera, and checkpoints by their number."""

    results: dict[int, int] = field(default_factory=lambda: dict.fromkeys(CAMERAS, 0))
    sent: dict[int, int] = field(default_factory=lambda: dict.fromkeys(CAMERAS, 0))
    checkpoints: list[dict[int, Position]] = field(default_factory=list)
    durable: int = 0


@given(
    st.lists(
        st.sampled_from(["process 1", "process 2", "write 1", "write 2", "write own", "tick"]), max_size=120
    )
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_order_of_events_only_durable_work_is_answered_for(events: list[str]) -> None:
    disk = Disk()
    checkpoints = Checkpointer({}, every=3, idle_s=0.5, longest_s=1000.0)
    now_s, on_the_way = 0.0, 0
    answered: dict[int, int] = dict.fromkeys(CAMERAS, -1)

    def step() -> None:
        nonlocal on_the_way
        checkpoints.take(now_s, snapshot)
        checkpoint = checkpoints.sendable(lambda camera, session: disk.results[camera])
        if checkpoint is not None:
            on_the_way += 1
            checkpoints.sent(len(disk.checkpoints))
            disk.checkpoints.append(checkpoint.positions)
        positions: Any = checkpoints.acknowledged(disk.durable) or {}
        for camera, (_, seq) in positions.items():
            answered[camera] = seq
            assert seq < disk.results[camera]
            assert any(p.get(camera, (0, -1))[1] >= seq for p in disk.checkpoints[: disk.durable])
        assert len(disk.checkpoints) - disk.durable <= 1

    for event in events:
        what, _, which = event.partition(" ")
        if what == "tick":
            now_s += 0.3
        elif what == "process":
            checkpoints.processed(int(which), SESSION, disk.sent[int(which)], now_s)
            disk.sent[int(which)] += 1
        elif which == "own":
            disk.durable = len(disk.checkpoints)
        else:
            disk.results[int(which)] = disk.sent[int(which)]
        step()
    for _ in range(3):  # once all is written and nothing more comes, all is answered for
        now_s += 1.0
        disk.results.update(disk.sent)
        step()
        disk.durable = len(disk.checkpoints)
        step()
    assert answered == {camera: count - 1 for camera, count in disk.sent.items()}
