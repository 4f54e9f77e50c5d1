"""When a checkpoint is due, what is in it, and what may be acknowledged because of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.checkpointing import MAX_REST_S, Checkpointer, Position
from shared.messages import IdentityEvent

SESSION = 7
CAMERAS = (1, 2)
FOLLOW = IdentityEvent(3, "follow", 0)


def snapshot() -> tuple[bytes, dict[int, bytes]]:
    return b"state", {1: b"one"}


def test_a_checkpoint_is_due_after_so_many_frames() -> None:
    checkpoints = Checkpointer({}, every=3, idle_s=1000.0, longest_s=1000.0)
    for seq in range(2):
        checkpoints.processed(1, SESSION, seq, now_s=0.0)
        checkpoints.take(0.0, snapshot)
        assert checkpoints.sendable() is None
    checkpoints.processed(1, SESSION, 2, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    checkpoint = checkpoints.sendable()
    assert checkpoint is not None
    assert (checkpoint.positions, checkpoint.state, checkpoint.identities) == (
        {1: (SESSION, 2)},
        b"state",
        {1: b"one"},
    )


def test_a_checkpoint_is_due_when_nothing_more_comes_for_a_while() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=0.2, longest_s=1000.0)
    checkpoints.take(50.0, snapshot)
    assert checkpoints.sendable() is None
    checkpoints.processed(1, SESSION, 0, now_s=50.0)
    checkpoints.take(50.1, snapshot)
    assert checkpoints.sendable() is None
    checkpoints.take(50.2, snapshot)
    assert checkpoints.sendable() is not None


def test_a_checkpoint_is_due_at_the_end_of_a_camera() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=1000.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 0, now_s=0.0, last=True)
    checkpoints.take(0.0, snapshot)
    assert checkpoints.sendable() is not None


def test_a_checkpoint_is_due_even_where_frames_never_pause() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=0.2, longest_s=2.0)
    for tenth in range(20):
        checkpoints.changed(tenth / 10)
        checkpoints.take(tenth / 10, snapshot)
        assert checkpoints.sendable() is None
    checkpoints.changed(2.0)
    checkpoints.take(2.0, snapshot)
    assert checkpoints.sendable() is not None


def test_a_decision_is_in_a_checkpoint_of_its_own_at_once() -> None:
    checkpoints = Checkpointer({1: (SESSION, 5)}, every=100, idle_s=1000.0, longest_s=1000.0)
    checkpoints.decided(FOLLOW, now_s=1.0)
    checkpoints.take(1.0, snapshot)
    checkpoint = checkpoints.sendable()
    assert checkpoint is not None
    assert (checkpoint.positions, checkpoint.events) == ({1: (SESSION, 5)}, (FOLLOW,))


def test_nothing_is_acknowledged_before_the_checkpoint_is_sent_and_durable() -> None:
    checkpoints = Checkpointer({}, every=1, idle_s=1.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 4, now_s=0.0)
    checkpoints.decided(FOLLOW, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    assert checkpoints.acknowledged(1 << 60, 0.0) is None
    assert checkpoints.sendable() is not None
    checkpoints.sent(9)
    assert checkpoints.sendable() is None
    assert checkpoints.acknowledged(9, 0.0) is None
    assert not checkpoints.is_complete
    acknowledged = checkpoints.acknowledged(10, 0.0)
    assert acknowledged is not None
    assert (acknowledged.positions, acknowledged.events) == ({1: (SESSION, 4)}, (FOLLOW,))
    assert checkpoints.is_complete
    assert checkpoints.acknowledged(11, 0.0) is None


def test_what_is_processed_after_a_checkpoint_was_taken_is_not_in_it() -> None:
    checkpoints = Checkpointer({}, every=1, idle_s=1.0, longest_s=1000.0)
    checkpoints.processed(1, SESSION, 0, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    checkpoints.processed(1, SESSION, 1, now_s=0.0)
    checkpoints.decided(FOLLOW, now_s=0.0)
    checkpoints.take(0.0, snapshot)
    checkpoint = checkpoints.sendable()
    assert checkpoint is not None
    assert (checkpoint.positions, checkpoint.events) == ({1: (SESSION, 0)}, ())


def test_after_a_slow_checkpoint_the_next_one_waits_longer_but_a_decision_does_not() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=0.2, longest_s=2.0)
    checkpoints.changed(0.0)
    checkpoints.take(2.0, snapshot)
    checkpoints.sent(0)
    assert checkpoints.acknowledged(1, 2.5) is not None
    checkpoints.changed(3.0)
    checkpoints.take(6.9, snapshot)
    assert checkpoints.sendable() is None
    checkpoints.decided(FOLLOW, 6.9)
    checkpoints.take(6.9, snapshot)
    assert checkpoints.sendable() is not None


def test_a_store_that_was_away_puts_off_the_next_checkpoint_only_so_long() -> None:
    checkpoints = Checkpointer({}, every=100, idle_s=0.2, longest_s=2.0)
    checkpoints.changed(0.0)
    checkpoints.take(2.0, snapshot)
    checkpoints.sent(0)
    assert checkpoints.acknowledged(1, 3600.0) is not None
    checkpoints.changed(3600.0)
    checkpoints.take(3600.0 + MAX_REST_S, snapshot)
    assert checkpoints.sendable() is not None


def test_a_stream_goes_on_behind_what_the_state_contains() -> None:
    checkpoints = Checkpointer({1: (SESSION, 5)}, every=1, idle_s=1.0, longest_s=1000.0)
    assert checkpoints.position(1, SESSION) == 6
    assert checkpoints.position(1, SESSION + 1) == 0
    assert checkpoints.position(2, SESSION) == 0


@dataclass
class Disk:
    """What was sent to the store: how many results of each camera, and the checkpoints in order."""

    sent: dict[int, int] = field(default_factory=lambda: dict.fromkeys(CAMERAS, 0))
    checkpoints: list[dict[int, Position]] = field(default_factory=list)
    durable: int = 0


@given(st.lists(st.sampled_from(["process 1", "process 2", "write", "tick"]), max_size=120))
@settings(max_examples=150, deadline=None)
def test_whatever_the_order_of_events_only_durable_work_is_acknowledged(events: list[str]) -> None:
    disk = Disk()
    checkpoints = Checkpointer({}, every=3, idle_s=0.5, longest_s=1000.0)
    now_s = 0.0
    answered: dict[int, int] = dict.fromkeys(CAMERAS, -1)

    def step() -> None:
        checkpoints.take(now_s, snapshot)
        checkpoint = checkpoints.sendable()
        if checkpoint is not None:
            checkpoints.sent(len(disk.checkpoints))
            disk.checkpoints.append(checkpoint.positions)
        acknowledged = checkpoints.acknowledged(disk.durable, now_s)
        for camera, (_, seq) in (acknowledged.positions if acknowledged else {}).items():
            answered[camera] = seq
            assert any(p.get(camera, (0, -1))[1] >= seq for p in disk.checkpoints[: disk.durable])
        assert len(disk.checkpoints) - disk.durable <= 1

    for event in events:
        what, _, which = event.partition(" ")
        if what == "tick":
            now_s += 0.3
        elif what == "process":
            checkpoints.processed(int(which), SESSION, disk.sent[int(which)], now_s)
            disk.sent[int(which)] += 1
        else:
            disk.durable = len(disk.checkpoints)
        step()
    for _ in range(3):  # once all is written and nothing more comes, all is acknowledged
        now_s += 20.0
        step()
        disk.durable = len(disk.checkpoints)
        step()
    assert answered == {camera: count - 1 for camera, count in disk.sent.items()}
    assert checkpoints.is_complete
