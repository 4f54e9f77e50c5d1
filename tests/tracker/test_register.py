from __future__ import annotations

import pytest

from services.tracker import register as register_module
from services.tracker.register import Register
from services.tracker.track import Track

SECOND_NS = 1_000_000_000


def settled(register: Register, seconds: range) -> None:
    """One newcomer a second, each seen once and gone for good."""
    for second in seconds:
        track = Track(second, 1, second * SECOND_NS)
        track.observe(track.first_ns, [track.first_ns * 1e-9, 100.0, 200.0, 0.0, 0.0, 150.0])
        track.identity = register.newcomer()
        register.settle(track)


def test_no_more_people_are_remembered_than_the_most_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(register_module, "MAX_PEOPLE", 3)
    register = Register()
    settled(register, range(1, 6))
    register.drop_oldest(present=())
    assert sorted(register.people) == [3, 4, 5]
    assert register.changes()[1] == b""


def test_whom_an_operator_has_named_and_who_is_here_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_module, "MAX_PEOPLE", 3)
    register = Register()
    settled(register, range(1, 6))
    register.people[1].name = "Ada"
    register.drop_oldest(present=[2])
    assert sorted(register.people) == [1, 2, 5]
