"""The threads that decode and run the networks, one batch behind another."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from services.detector.budget import Budget
from services.detector.decode import Decoder
from services.detector.extractor import FeatureExtractor, Found
from services.detector.failure import FrameFailure, told
from services.detector.picture import Picture
from shared.messages import Frame, Message, People, empty_people

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """One frame on its way through; `result` is set when the batch it is in is done."""

    frame: Frame
    live: bool
    result: Message | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    jobs: list[Job]
    sound: list[Job] = field(default_factory=list)
    failures: list[tuple[Job, FrameFailure]] = field(default_factory=list)
    items: list[tuple[Frame, Picture]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    detecting_s: float = 0.0


DETECTING = 1
"""The place of that step among the three."""

_Queue = queue.SimpleQueue["_Batch | Exception | None"]


class Worker:
    """Decodes, detects and describes in three threads, so that each works on a batch of its own.

    Batches come out in the order they went in.  While people of one batch are described, the next is
    detected in and the one behind it decoded: on a GPU the copies and the short networks run beside the
    long one, on a CPU the cores that a network leaves idle are used.

    done: batches whose jobs have results.  detected: in how many batches people have been looked for.
    failure: what ended the threads, to be raised by the owner.  passed_over: how many live frames newer
    ones have replaced, as the owner counts them.
    """

    def __init__(self, extractor: FeatureExtractor, decoder: Decoder, wake: Callable[[], object]) -> None:
        """wake: called whenever there is news, in one of the worker's threads at a time."""
        self.done: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()
        self.failure: Exception | None = None
        self.passed_over = 0
        self.detected = 0
        self._extractor = extractor
        self._decoder = decoder
        self._wake = wake
        self._telling = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._budget = Budget()
        self._counted = 0
        self._queues: list[_Queue] = [queue.SimpleQueue() for _ in range(3)]
        self._threads = [
            threading.Thread(target=self._stage, args=(place, step), name=name, daemon=True)
            for place, (name, step) in enumerate(
                {"decode": self._decode, "detect": self._detect, "describe": self._describe}.items()
            )
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def put(self, jobs: list[Job]) -> None:
        """Take a batch."""
        self._queues[0].put(_Batch(jobs))

    def stop(self, timeout_s: float) -> None:
        """End when what was put has been worked through, or after this time."""
        self._queues[0].put(None)
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline_s - time.monotonic()))

    def readings(self) -> dict[str, float]:
        """Milliseconds of each stage, batches, failed frames, and how the buffers are used."""
        return {
            **{name: float(value) for name, value in dict(self._counts).items()},
            "buffer_hit_rate": self._decoder.pool.hit_rate,
            "stretch": self._budget.stretch,
        }

    def _stage(self, place: int, step: Callable[[_Batch], None]) -> None:
        """Do a step for each batch and hand it on; an error takes the batch's place."""
        last = place == len(self._queues) - 1
        while True:
            batch = self._queues[place].get()
            if isinstance(batch, _Batch):
                try:
                    step(batch)
                except Exception as error:  # noqa: BLE001 - carried over to the owner, who raises it
                    batch = error
            if not last:
                self._queues[place + 1].put(batch)
                if place == DETECTING:
                    self.detected += 1
                    self._tell()
            elif isinstance(batch, _Batch):
                self.done.put(batch.jobs)
                self._tell()
            elif batch is not None:
                self.failure = batch
                self._tell()
            if not isinstance(batch, _Batch):
                return

    def _tell(self) -> None:
        with self._telling:
            self._wake()

    def _decode(self, batch: _Batch) -> None:
        began_s = time.perf_counter()
        pictures = self._decoded([job.frame for job in batch.jobs])
        for job, picture in zip(batch.jobs, pictures, strict=True):
            if isinstance(picture, FrameFailure):
                batch.failures.append((job, picture))
            else:
                batch.sound.append(job)
                batch.items.append((job.frame, picture))
        self._spent("decode", began_s)

    def _decoded(self, frames: list[Frame]) -> list[Picture | FrameFailure]:
        """What the decoder makes of frames; one on which it fails (no memory, say) costs itself only."""
        try:
            return self._decoder.decode(frames)
        except Exception as error:  # noqa: BLE001 - decoders raise what they like; one frame must not stop all
            if len(frames) > 1:
                return [picture for frame in frames for picture in self._decoded([frame])]
            return [FrameFailure(frames[0].stamp, f"decoding failed: {told(error)}")]

    def _detect(self, batch: _Batch) -> None:
        began_s = time.perf_counter()
        batch.found = self._extractor.detect(batch.items)
        batch.detecting_s = self._spent("detect", began_s)

    def _describe(self, batch: _Batch) -> None:
        began_s = time.perf_counter()
        live = {job.frame.stamp.camera for job in batch.jobs if job.live}
        self._extractor.ease(dict.fromkeys(live, self._budget.stretch))
        results = self._described(batch.items, batch.found)
        for job, result in zip(batch.sound, results, strict=True):
            if isinstance(result, FrameFailure):
                batch.failures.append((job, result))
            else:
                job.result = result
        for job, failure in batch.failures:
            self._failed(job, failure)
        self._decoder.release([picture for _, picture in batch.items])
        describing_s = self._spent("describe", began_s)
        self._counts["batches"] += 1
        if live:
            passed_over, self._counted = self.passed_over - self._counted, self.passed_over
            self._budget.spent(batch.detecting_s, describing_s, passed_over)

    def _described(
        self, items: list[tuple[Frame, Picture]], found: list[Found]
    ) -> list[People | FrameFailure]:
        """What the extractor makes of pictures; one on which it fails costs itself only."""
        try:
            return self._extractor.describe(items, found)
        except Exception as error:  # noqa: BLE001 - networks raise what they like; one frame must not stop all
            if len(items) > 1:
                parts = zip(items, found, strict=True)
                return [people for item, each in parts for people in self._described([item], [each])]
            return [FrameFailure(items[0][0].stamp, f"describing people failed: {told(error)}")]

    def _spent(self, stage: str, began_s: float) -> float:
        seconds = time.perf_counter() - began_s
        self._counts[f"{stage}_ms"] += round(seconds * 1000)
        return seconds

    def _failed(self, job: Job, failure: FrameFailure) -> None:
        self._counts["failed_frames"] += 1
        log.warning(
            "camera %d, frame %d: %s", failure.stamp.camera, failure.stamp.frame_index, failure.reason
        )
        job.result = empty_people(failure.stamp)
