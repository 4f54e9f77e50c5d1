from __future__ import annotations

from services.detector.budget import LONGEST, Budget


def spend(budget: Budget, seconds: float, share: float, passed_over: int) -> None:
    """So many seconds of batches, of which descriptions take a share."""
    for _ in range(round(seconds * 10)):
        budget.spent(0.1 * (1 - share), 0.1 * share, passed_over)


def test_people_are_described_as_usual_while_no_frame_is_passed_over() -> None:
    budget = Budget()
    spend(budget, 20, 0.8, passed_over=0)
    assert budget.stretch == 1


def test_descriptions_that_crowd_out_frames_are_made_less_often_within_bounds() -> None:
    budget = Budget()
    spend(budget, 3, 0.5, passed_over=2)
    assert 1 < budget.stretch < LONGEST
    spend(budget, 30, 0.5, passed_over=2)
    assert budget.stretch == LONGEST


def test_frames_that_are_passed_over_for_another_reason_change_nothing() -> None:
    budget = Budget()
    spend(budget, 20, 0.1, passed_over=5)
    assert budget.stretch == 1


def test_when_the_load_is_gone_everything_is_as_usual_again() -> None:
    budget = Budget()
    spend(budget, 30, 0.5, passed_over=2)
    spend(budget, 30, 0.5, passed_over=0)
    assert budget.stretch == 1
