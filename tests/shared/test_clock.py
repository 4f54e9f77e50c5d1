"""The offset of another host's clock, from echoed timestamps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import NEGLIGIBLE_NS, OffsetEstimator

MS = 1_000_000
HOUR = 3_600_000 * MS


def exchange(
    estimator: OffsetEstimator, offset_ns: int, there_ns: int, back_ns: int, sent_ns: int = HOUR
) -> None:
    estimator.add(sent_ns, sent_ns + there_ns + offset_ns, sent_ns + there_ns + back_ns)


def test_an_unknown_offset_is_none() -> None:
    assert OffsetEstimator().offset_ns == 0


@given(
    st.integers(-1000 * HOUR, 1000 * HOUR),
    st.lists(st.tuples(st.integers(0, 200 * MS), st.integers(0, 200 * MS)), min_size=1, max_size=16),
)
def test_the_error_is_at_most_half_of_the_shortest_way_there_and_back(
    offset_ns: int, ways_ns: list[tuple[int, int]]
) -> None:
    estimator = OffsetEstimator()
    for there_ns, back_ns in ways_ns:
        exchange(estimator, offset_ns, there_ns, back_ns)
    shortest_ns = min(map(sum, ways_ns))
    if estimator.offset_ns:
        assert abs(estimator.offset_ns - offset_ns) <= shortest_ns / 2 + 1
    else:  # too small to tell from the way
        assert abs(offset_ns) <= max(NEGLIGIBLE_NS, shortest_ns) + shortest_ns / 2 + 1


def test_of_many_exchanges_the_quickest_is_believed() -> None:
    estimator = OffsetEstimator()
    exchange(estimator, HOUR, 0, 900 * MS)
    exchange(estimator, HOUR, MS, MS)
    exchange(estimator, HOUR, 800 * MS, 0)
    assert estimator.offset_ns == HOUR


def test_a_clock_that_was_set_is_followed_from_the_next_exchange_on() -> None:
    estimator = OffsetEstimator()
    for _ in range(16):
        exchange(estimator, HOUR, 0, 0)
    exchange(estimator, 2 * HOUR, MS, MS)
    assert estimator.offset_ns == 2 * HOUR
    exchange(estimator, 0, MS, MS)
    assert estimator.offset_ns == 0


def test_clocks_that_drift_as_much_as_ntp_corrects_keep_their_quickest_exchange() -> None:
    estimator = OffsetEstimator()
    for second in range(16):
        exchange(estimator, HOUR + second * MS // 2, 0 if second == 3 else 40 * MS, 0)
    assert estimator.offset_ns == HOUR + 3 * MS // 2


def test_after_a_reset_nothing_of_before_counts() -> None:
    estimator = OffsetEstimator()
    exchange(estimator, HOUR, 0, 0)
    estimator.reset()
    assert estimator.offset_ns == 0


def test_an_answer_before_its_question_is_dropped() -> None:
    estimator = OffsetEstimator()
    estimator.add(HOUR, 5 * HOUR, HOUR - 1)
    assert estimator.offset_ns == 0


def test_an_offset_that_is_noise_is_none() -> None:
    estimator = OffsetEstimator()
    exchange(estimator, 3 * MS, 0, 0)
    assert estimator.offset_ns == 0
