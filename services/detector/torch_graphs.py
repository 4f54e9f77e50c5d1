"""Work that is launched as one: a graph for every shape of batch that comes often.

A network of hundreds of small steps keeps the processor busy with launching them; recorded once, they are
launched together.  Whatever goes wrong with that costs speed alone: the same function is called step by step.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from services.detector.torch_device import ALONE, GraphRecorder

log = logging.getLogger(__name__)

SEEN_BEFORE = 3
"""So many batches of a shape are computed step by step before the shape is worth a graph."""

MOST_GRAPHS = 8
"""They share memory, but each keeps its batch and its answer."""

TOLERANCE = 1e-3

Recorder = Callable[[Callable[[Any], Any], Any], Callable[[Any], Any]]


class Graphs:
    """A function of one tensor, replayed from a graph where that works."""

    def __init__(
        self,
        name: str,
        function: Callable[[Any], Any],
        counts: Counter[str],
        recorder: Recorder | None = None,
    ) -> None:
        """function: as `GraphRecorder` takes it.  recorder: makes the graphs, by default one of those."""
        self._name = name
        self._function = function
        self._counts = counts
        self._recorder = recorder or GraphRecorder()
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._graphs: dict[tuple[int, ...], Callable[[Any], Any]] = {}
        self.enabled = True

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """What the function answers, in memory of the caller's own."""
        shape = tuple(batch.shape)
        if (graph := self._graphs.get(shape)) is not None:
            self._counts["graph_batches"] += 1
            return graph(batch).clone()
        # With the first batch of a shape cuDNN tries its algorithms.
        with nullcontext() if self._seen[shape] else ALONE:
            answer = self._function(batch)
        self._seen[shape] += 1
        if self.enabled and self._seen[shape] >= SEEN_BEFORE and len(self._graphs) < MOST_GRAPHS:
            self._record(shape, batch, answer)
        return answer

    def _record(self, shape: tuple[int, ...], batch: torch.Tensor, expected: torch.Tensor) -> None:
        try:
            graph = self._recorder(self._function, batch)
            same = torch.allclose(graph(batch), expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
            reason = "" if same else "a recorded batch came out differently"
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
        if reason:
            self.enabled = False
            self._graphs.clear()
            self._counts["graphs_given_up"] += 1
            log.warning("%s goes on without CUDA graphs: %s", self._name, reason)
        else:
            self._graphs[shape] = graph
            log.info("%s: batches of %s are one CUDA graph from now on", self._name, shape)
