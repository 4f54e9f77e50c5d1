"""Where torch computes: the device and precision that settings mean, lanes of work, pinned memory, graphs.

All that exists on a GPU alone is in this module, as thin as it can be; the rest of the torch family runs on
a CPU line by line as it does on a GPU.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from services.detector.picture import Image
from shared.errors import ConfigError, ModelError

try:
    import torch
except ImportError as error:
    raise ModelError(
        "the torch family needs torch and torchvision: pip install 'tracking-system[torch]', "
        "or set family: openvino"
    ) from error

log = logging.getLogger(__name__)

ALONE = threading.Lock()
"""Held by the thread that records a graph, that lets cuDNN try its algorithms, or that empties torch's cache.

The last two wait for the whole device, and such a wait breaks what another thread is recording.
"""


def has_gpu() -> bool:
    """Whether torch can use a GPU here."""
    return bool(torch.cuda.is_available())


def chosen_device(device: str) -> torch.device:
    """The device a setting means; raises ConfigError for one that is not there."""
    if device == "auto":
        if not has_gpu():
            log.warning("torch finds no GPU: its networks run on the CPU and take seconds a frame")
        device = "cuda" if has_gpu() else "cpu"
    try:
        # As a tensor tells it, for "cuda" and "cuda:0" are not equal.
        chosen = torch.empty(1, device=torch.device(device)).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"device {device} cannot be used here ({told}): set device to auto or cpu"
        ) from None
    return chosen


def chosen_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type that convolutions are computed in: of a setting fp32, bf16, fp16 or auto.

    "auto" is fp16 on a GPU, which rounds eight times finer than bf16, and fp32 on a CPU.
    """
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def tune(precision: torch.dtype) -> None:
    """Set what torch keeps for the whole process: algorithms by trial, and fp32 that is meant as fp32."""
    torch.backends.cudnn.benchmark = True
    if precision == torch.float32:
        # TF32 keeps 10 bits of the fraction; whoever asks for fp32 wants 23.
        torch.backends.cudnn.allow_tf32 = False


def out_of_memory(error: BaseException) -> bool:
    """Whether this error says that memory did not suffice, on a GPU or off it."""
    told = str(error).lower()
    named = any(each in told for each in ("out of memory", "alloc_failed", "not enough memory"))
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and named
    )


def device_lost(error: BaseException) -> bool:
    """Whether this error says that the GPU itself failed; nothing on it can be used afterwards.

    A call that is refused because a graph is being recorded fails alone: the device works on.
    """
    told = str(error)
    named = any(each in told for each in ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "CUDNN_STATUS"))
    return isinstance(error, RuntimeError) and named and "captur" not in told.lower()


def give_memory_back(device: torch.device) -> None:
    """Let torch return the memory of this device that nothing uses any more."""
    if device.type != "cuda":
        return
    with ALONE:
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            # After a recording that broke off torch refuses this for good; the memory stays usable.
            log.debug("torch's cache is not emptied: %s", str(error).splitlines()[0])


class Lane:
    """A row of work on a device: what is put into it runs in order, beside what is in other lanes.

    `with lane:` puts what follows into it, for this thread.  On a CPU everything runs at once anyway.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._entered: list[Any] = []

    def __enter__(self) -> Lane:
        if self._stream is not None:
            context = torch.cuda.stream(self._stream)
            context.__enter__()
            self._entered.append(context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._entered:
            self._entered.pop().__exit__(kind, error, traceback)

    def mark(self) -> Any:
        """The point that this lane's work has come to; None on a CPU."""
        return None if self._stream is None else self._stream.record_event()

    def follow(self) -> None:
        """Let this lane's further work begin behind what this thread has put elsewhere so far."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    def wait(self, mark: Any) -> None:
        """Let this lane's further work begin behind that point of another lane; nobody waits here."""
        if self._stream is not None and mark is not None:
            self._stream.wait_event(mark)


def pinned(shape: tuple[int, int, int]) -> Image:
    """A buffer that a GPU reads by itself while this process goes on; an ordinary one where that fails."""
    try:
        return np.asarray(torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy(), np.uint8)
    except RuntimeError as error:
        log.debug("no pinned memory: %s", error)
        return np.empty(shape, np.uint8)


class GraphRecorder:
    """Records work on a GPU as CUDA graphs that share their memory; not two of them at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Callable[[Any], Any], example: Any) -> Callable[[Any], Any]:
        """The function's work as one graph, for inputs of the example's shape and type.

        function: one tensor in, one out, with no wait for the device inside.  It has been called in this
        thread and lane with such an input, so that its algorithms are chosen.  Called with a lane entered,
        in which the graph is recorded: a stream that other threads use would bring their work into it.
        What the returned function returns is overwritten by the next call of any graph of this recorder's.
        While a graph is recorded, torch refuses all other threads random numbers of this GPU ("Offset
        increment outside graph capture"): what they compute meanwhile must draw none.
        Raises RuntimeError where something cannot be recorded.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        given = example.clone()
        stream = torch.cuda.current_stream(given.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads use the same GPU meanwhile, and may; but what waits for all of it may not.
        with (
            ALONE,
            torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"),
        ):
            answer = function(given)

        def replay(batch: Any) -> Any:
            given.copy_(batch)
            graph.replay()
            return answer

        return replay
