"""Graphs of a device, with a recorder that stands in for the GPU's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed here")

from services.detector.torch_device import ALONE  # noqa: E402 - as above
from services.detector.torch_graphs import MOST_GRAPHS, SEEN_BEFORE, Graphs  # noqa: E402 - as above


class Recorder:
    """Makes graphs whose answer is overwritten by the next call, as a GPU's are; `wrong` adds to it."""

    def __init__(self, wrong: float = 0.0, refuses: bool = False) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self._wrong = wrong
        self._refuses = refuses

    def __call__(self, function: Callable[[Any], Any], example: Any) -> Callable[[Any], Any]:
        if self._refuses:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.recorded.append(tuple(example.shape))
        answer = torch.zeros_like(function(example))

        def replay(batch: Any) -> Any:
            answer.copy_(function(batch) + self._wrong)
            return answer

        return replay


def doubled(recorder: Recorder) -> tuple[Graphs, list[int], Counter[str]]:
    """A function that doubles, how often it ran, and the counts."""
    runs: list[int] = []
    counts: Counter[str] = Counter()

    def function(batch: Any) -> Any:
        runs.append(len(batch))
        return batch * 2

    return Graphs("doubling", function, counts, recorder), runs, counts


def test_a_shape_that_comes_again_and_again_is_recorded_once_and_replayed() -> None:
    recorder = Recorder()
    graphs, _, counts = doubled(recorder)
    answers = [graphs(torch.full((2, 3), float(n))) for n in range(SEEN_BEFORE + 3)]
    assert recorder.recorded == [(2, 3)]
    assert counts["graph_batches"] == 3
    for n, answer in enumerate(answers):
        assert (answer == 2 * n).all(), "an answer is not overwritten by the next batch"


def test_shapes_that_come_seldom_are_not_recorded() -> None:
    recorder = Recorder()
    graphs, _, _ = doubled(recorder)
    for size in range(1, 20):
        graphs(torch.ones(size))
    assert recorder.recorded == []


def test_no_more_graphs_are_kept_than_there_is_memory_for() -> None:
    recorder = Recorder()
    graphs, _, _ = doubled(recorder)
    for size in range(1, MOST_GRAPHS + 4):
        for _ in range(SEEN_BEFORE):
            assert (graphs(torch.ones(size)) == 2).all()
    assert len(recorder.recorded) == MOST_GRAPHS


@pytest.mark.parametrize(
    ("recorder", "reason"),
    [
        (Recorder(refuses=True), "not permitted when stream is capturing"),
        (Recorder(wrong=1.0), "differently"),
    ],
)
def test_what_cannot_be_recorded_is_computed_step_by_step_and_this_is_said(
    recorder: Recorder, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    graphs, runs, counts = doubled(recorder)
    for n in range(SEEN_BEFORE + 3):
        assert (graphs(torch.full((2,), float(n))) == 2 * n).all()
    assert "doubling goes on without CUDA graphs" in caplog.text and reason in caplog.text
    assert len(caplog.records) == 1 and counts["graphs_given_up"] == 1
    assert len(runs) >= SEEN_BEFORE + 3


def test_algorithms_are_tried_while_no_other_thread_records() -> None:
    held: list[bool] = []

    def function(batch: Any) -> Any:
        held.append(ALONE.locked())
        return batch

    graphs = Graphs("noting", function, Counter(), Recorder())
    for size in (2, 2, 3, 3):
        graphs(torch.ones(size))
    assert held == [True, False, True, False]
