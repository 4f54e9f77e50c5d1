"""How much of the networks' time descriptions may take while live frames have to be passed over."""

from __future__ import annotations

SHARE = 0.25
"""Of the networks' time, what embeddings, faces and clothing may take together."""

STEP = 1.3
LONGEST = 4.0
"""People are described at most so many times as rarely as usual: every two seconds at the least."""

WINDOW_S = 1.0
"""So much work is looked at before anything is changed."""


class Budget:
    """Stretches the time between two looks at a person, and lets it go back.

    stretch: 1 to LONGEST; how many times as long as usual to wait.
    """

    def __init__(self) -> None:
        self.stretch = 1.0
        self._detecting_s = 0.0
        self._describing_s = 0.0
        self._passed_over = 0

    def spent(self, detecting_s: float, describing_s: float, passed_over: int) -> None:
        """Tell of a batch: the time it took, and the live frames that newer ones replaced meanwhile."""
        self._detecting_s += detecting_s
        self._describing_s += describing_s
        self._passed_over += passed_over
        total_s = self._detecting_s + self._describing_s
        if total_s < WINDOW_S:
            return
        share = self._describing_s / total_s
        if self._passed_over and share > SHARE:
            self.stretch = min(LONGEST, self.stretch * STEP)
        elif not self._passed_over or share < SHARE / STEP:
            self.stretch = max(1.0, self.stretch / STEP)
        self._detecting_s = self._describing_s = 0.0
        self._passed_over = 0
