"""Keeps a network of torch going: in batches that fit, a precision that holds, on a device that is there."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch

from services.detector.torch_device import (
    Lane,
    chosen_device,
    chosen_precision,
    device_lost,
    give_memory_back,
    out_of_memory,
    tune,
)
from services.detector.torch_rcnn import folded, rounded

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 1 << 16


class Runner:
    """Runs one network, and goes on when something fails.

    NaN in half precision     the same batch again in fp32
    out of memory             half the batch, and no larger one of that kind again
    with one item             a smaller input, where the network takes one
    or the GPU is lost        the network on the CPU, from then on
    anything else             raised

    Each of these is counted in `counts` and said in the log the 1st, 10th, 100th time.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], torch.nn.Module],
        device: str,
        precision: str,
    ) -> None:
        """load: makes the network with its weights in memory; called again when the GPU is lost.

        device, precision: settings.
        """
        self.name = name
        self.counts: Counter[str] = Counter()
        self.device = chosen_device(device)
        self.precision = chosen_precision(precision, self.device)
        self.spare: torch.device | None = torch.device("cpu") if self.device.type != "cpu" else None
        self.generation = 0
        """Grows whenever what was made with the networks should be made anew."""
        self._load = load
        self._most: dict[Hashable, int] = {}
        tune(self.precision)
        self._place()

    def __call__(
        self,
        kind: Hashable,
        items: Sequence[Item],
        compute: Callable[[torch.nn.Module, Sequence[Item]], list[Result]],
        shrink: Callable[[], bool] | None = None,
    ) -> list[Result]:
        """What `compute` makes of the items, in order.

        kind: of items that need as much memory as one another.  compute: of the network in the precision
        to be used and some of the items, one result an item; raises ValueError for NaN.  shrink: makes
        items of this kind smaller, if it can.
        """
        results: list[Result] = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + self._most.get(kind, MOST)]
            try:
                results += self._in_precision(part, compute)
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):
                    if not self._make_room(kind, len(part), shrink):
                        raise
                elif not device_lost(error) or not self._move(error):
                    raise
        return results

    def _in_precision(
        self, part: Sequence[Item], compute: Callable[[torch.nn.Module, Sequence[Item]], list[Result]]
    ) -> list[Result]:
        with torch.inference_mode(), self.lane:
            if self.half is not None:
                try:
                    return compute(self.half, part)
                except ValueError as error:
                    self.say("computed_again", "%s; computed again in fp32", error)
            return compute(self.exact, part)

    def _make_room(self, kind: Hashable, count: int, shrink: Callable[[], bool] | None) -> bool:
        """Need less memory from now on; False where nothing is left to be done."""
        if count > 1:
            self._most[kind] = count // 2
            self.say(
                "batch_halved",
                "out of memory with %d at once: %d from now on",
                count,
                count // 2,
            )
        elif shrink is not None and shrink():
            self.say("input_shrunk", "out of memory with a single one: its input is made smaller from now on")
        else:
            return self._move(None)
        # What was made for larger batches, graphs above all, is let go.
        self.generation += 1
        give_memory_back(self.device)
        return True

    def _move(self, error: BaseException | None) -> bool:
        """To the CPU; False where the network is there already."""
        if self.spare is None:
            return False
        told = str(error).splitlines()[0] if error else "out of memory with a single one"
        self.say(
            "moved_to_cpu",
            "%s fails (%s): this network runs on the CPU from now on, which takes seconds a frame. "
            "Restart the detector to try the GPU again, or set family: openvino",
            self.device,
            told,
        )
        self.device, self.spare, self.precision = self.spare, None, torch.float32
        self._most.clear()
        self._place()
        return True

    def _place(self) -> None:
        """Load the network onto the device, in fp32 and, where that is asked for, in half precision."""
        network = folded(self._load().eval()).requires_grad_(False)
        self.exact = network.to(self.device, memory_format=torch.channels_last)
        half = self.precision != torch.float32
        self.half: Any = rounded(self.exact, self.precision) if half else None
        self.lane = Lane(self.device)
        self.lane.follow()
        self.generation += 1
        log.info("%s runs on %s in %s", self.name, self.device, str(self.precision).removeprefix("torch."))

    def say(self, what: str, message: str, *values: object) -> None:
        """Count something, and tell of it the 1st, 10th, 100th time."""
        name = f"{self.name}_{what}"
        self.counts[name] += 1
        count = self.counts[name]
        if set(str(count)) <= {"1", "0"} and str(count).count("1") == 1:
            times = f" ({count} times)" if count > 1 else ""
            log.warning("%s: " + message + times, self.name, *values)
