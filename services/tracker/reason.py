"""Why a track belongs to its identity: for `explain`, and for how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """An earlier stay that a track was compared with.

    identity, camera, track: whose, where, which.  ratio: the log-likelihood ratio of being the same person.
    terms: what it is the sum of, by name.
    """

    identity: int
    camera: int
    track: int
    ratio: float
    terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """The decision about one track.

    continues: the stay it was decided to continue; None where it begins a new person.
    second: the best of the others; None where there was none.
    threshold: the ratio that a stay must exceed to be continued.
    operator: whether an operator has said whose it is.
    """

    continues: Candidate | None
    second: Candidate | None
    threshold: float
    operator: bool = False

    @property
    def sureness(self) -> float:
        """Probability that the decision is right, against the best other one."""
        if self.operator:
            return 1.0
        second = self.threshold if self.second is None else max(self.threshold, self.second.ratio)
        if self.continues is not None:
            margin = self.continues.ratio - second
        else:
            margin = math.inf if self.second is None else self.threshold - self.second.ratio
        return 1 / (1 + math.exp(-max(margin, -50.0)))

    def state(self) -> list[Any]:
        """Plain values for `restored`."""
        return [_state(self.continues), _state(self.second), self.threshold, self.operator]

    @classmethod
    def restored(cls, state: list[Any]) -> Reason:
        """What `state` gave."""
        continues, second, threshold, operator = state
        return cls(_restored(continues), _restored(second), threshold, operator)


def _state(candidate: Candidate | None) -> list[Any] | None:
    if candidate is None:
        return None
    return [candidate.identity, candidate.camera, candidate.track, candidate.ratio, candidate.terms]


def _restored(state: list[Any] | None) -> Candidate | None:
    return None if state is None else Candidate(*state)
