"""Frames in, people out: boxes, motion and, where it tells something new, appearance, face and clothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from services.detector.embedding_policy import EmbeddingPolicy
from services.detector.failure import FrameFailure, told
from services.detector.family import Describer, Detections, Embedder, PersonDetector, Sighting
from services.detector.flow import person_flow
from services.detector.light import parts, power, relit
from services.detector.picture import Picture, pixels
from services.detector.quality import crop_qualities
from shared.config import Config
from shared.messages import Features, Float32, Frame, FrameStamp, Int32, People

log = logging.getLogger(__name__)

APPEARANCE = "appearance"


Found: TypeAlias = "Detections | FrameFailure"


@dataclass(slots=True)
class _CameraState:
    session: int
    policy: EmbeddingPolicy
    describing: dict[str, EmbeddingPolicy]


@dataclass(slots=True)
class _Work:
    """One frame between detection and embedding: whom to embed, and how much of each is visible.

    sightings: by kind, the people to be described and their rows.  features: by kind, what came of it.
    """

    frame: Frame
    found: Detections
    flow: Float32
    rows: Int32
    crops: list[Picture]
    visible: Float32
    sightings: dict[str, tuple[Int32, list[Sighting]]]
    features: dict[str, Features]


class FeatureExtractor:
    """Person detection and appearance for any number of cameras.

    Everything with a score of `LOWEST_SCORE` or more is reported; `Config.confidence` tells the sure
    from the weak.  A frame's result depends on that camera's earlier frames alone, not on how frames
    were batched.

    counts: frames, people, embeddings, failed_frames, failed_embeddings, and for each kind of description
    how many there were, since the start.
    """

    def __init__(
        self,
        detector: PersonDetector,
        embedder: Embedder,
        config: Config,
        describers: Mapping[str, Describer] | None = None,
    ) -> None:
        """describers: by the kind of features they make; without one there is only appearance."""
        self.detector = detector
        self.embedder = embedder
        self.describers = dict(describers or {})
        self.counts: Counter[str] = Counter()
        self._confidence = config.confidence
        self._cameras: dict[int, _CameraState] = {}
        self._eased: dict[int, float] = {}

    def extract(self, items: Sequence[tuple[Frame, Picture]]) -> list[People | FrameFailure]:
        """One result an item, in order: `describe` of what `detect` finds.

        items: frames, each with its decoded picture (uint8 BGR, of the size the stamp says).  Frames of
        one camera come in the order they were taken; one batch may hold several.

        A frame on which a network fails costs that frame alone and comes back as a FrameFailure; where
        only embedding fails the people are reported without vectors.
        """
        return self.describe(items, self.detect(items))

    def detect(self, items: Sequence[tuple[Frame, Picture]]) -> list[Found]:
        """The people in each picture, or why they are not known; no batch depends on an earlier one.

        While one thread describes a batch, another may detect in the next.
        """
        if not items:
            return []
        try:
            return list(self.detector.detect([picture for _, picture in items]))
        except Exception as error:  # noqa: BLE001 - runtimes raise what they like; one frame must not stop all
            if len(items) > 1:
                return [result for item in items for result in self.detect([item])]
            stamp = items[0][0].stamp
            reason = f"{self.detector.name} failed: {told(error)}"
            log.warning("camera %d, frame %d: %s", stamp.camera, stamp.frame_index, reason)
            self.counts["failed_frames"] += 1
            return [FrameFailure(stamp, reason)]

    def describe(
        self, items: Sequence[tuple[Frame, Picture]], found: Sequence[Found]
    ) -> list[People | FrameFailure]:
        """What `extract` returns, of pictures in which people are found already; batches in their order."""
        work = [
            each if isinstance(each, FrameFailure) else self._prepared(frame, picture, each)
            for (frame, picture), each in zip(items, found, strict=True)
        ]
        sound = [each for each in work if isinstance(each, _Work)]
        for kind in self.describers:
            self._describe(kind, sound)
        features = iter(self._embed(sound))
        results = [
            each if isinstance(each, FrameFailure) else self._people(each, next(features)) for each in work
        ]
        self.counts["frames"] += len(results)
        return results

    def ease(self, cameras: Mapping[int, float]) -> None:
        """Describe people of these cameras less often than usual: so many times as rarely; others as usual.

        Only for live cameras, for a recording's result must not depend on how fast it is processed.
        """
        self._eased = dict(cameras)

    def readings(self) -> dict[str, float]:
        """`counts`, and what failed in the networks and was made good."""
        # Copied first: other threads count on meanwhile.
        every = dict(self.counts) | dict(self.detector.counts) | dict(self.embedder.counts)
        return {name: float(value) for name, value in every.items()}

    def forget(self, camera: int) -> None:
        """Drop what is remembered of a camera; a new session of its frames does the same."""
        self._cameras.pop(camera, None)

    def _prepared(self, frame: Frame, picture: Picture, found: Detections) -> _Work | FrameFailure:
        """`_prepare`, whose errors cost this frame alone; what the camera's policies remember begins anew."""
        try:
            return self._prepare(frame, picture, found)
        except Exception as error:  # noqa: BLE001 - as above
            self.forget(frame.stamp.camera)
            self.counts["failed_frames"] += 1
            return FrameFailure(frame.stamp, f"people cannot be cut out: {told(error)}")

    def _prepare(self, frame: Frame, picture: Picture, found: Detections) -> _Work:
        height, width = picture.shape[:2]
        state = self._state(frame.stamp)
        stretch = self._eased.get(frame.stamp.camera, 1.0)
        seen = frame.stamp.t_ns, found.boxes, found.scores, width, height
        chosen = {kind: policy.choose(*seen, stretch=stretch) for kind, policy in state.describing.items()}
        # Faces and clothing are looked at in memory, and only where somebody is to be looked at.
        image = None
        if any(len(rows) for rows, _ in chosen.values()):
            image = pixels(picture)
            image = relit(image, power(image))
        sightings = {
            kind: (
                rows,
                [Sighting(image, found.boxes[r], float(v)) for r, v in zip(rows, visible, strict=True)]
                if image is not None
                else [],
            )
            for kind, (rows, visible) in chosen.items()
        }
        rows, visible = state.policy.choose(*seen, stretch=stretch)
        crops = parts(picture, found.boxes[rows])
        flow = person_flow(frame.motion, found.boxes, width, height)
        return _Work(frame, found, flow, rows, crops, visible, sightings, {})

    def _state(self, stamp: FrameStamp) -> _CameraState:
        state = self._cameras.get(stamp.camera)
        if state is None or state.session != stamp.session:
            describing = {
                kind: EmbeddingPolicy(self._confidence, each.pace) for kind, each in self.describers.items()
            }
            state = _CameraState(stamp.session, EmbeddingPolicy(self._confidence), describing)
            self._cameras[stamp.camera] = state
        return state

    def _embed(self, work: Sequence[_Work]) -> list[Features | None]:
        """The appearance of the chosen people of each frame; None for a frame where that failed."""
        crops = [each for one in work for each in one.crops]
        try:
            vectors = self.embedder.embed(crops)
            visible = np.concatenate([one.visible for one in work]) if work else np.zeros(0, np.float32)
            quality = crop_qualities(crops, visible)
        except Exception as error:  # noqa: BLE001 - as above
            if len(work) > 1:
                return [result for one in work for result in self._embed([one])]
            stamp = work[0].frame.stamp
            reason = f"{self.embedder.name} failed: {told(error)}"
            log.warning("camera %d, frame %d without appearance: %s", stamp.camera, stamp.frame_index, reason)
            self.counts["failed_embeddings"] += len(crops)
            return [None]
        ends = np.cumsum([len(one.crops) for one in work])
        places = [slice(end - len(one.crops), end) for one, end in zip(work, ends, strict=True)]
        return [Features(one.rows, vectors[p], quality[p]) for one, p in zip(work, places, strict=True)]

    def _describe(self, kind: str, work: Sequence[_Work]) -> None:
        """Add to each frame what the describer of this kind sees; a frame where it fails goes without."""
        describer = self.describers[kind]
        sightings = [each for one in work for each in one.sightings[kind][1]]
        if not sightings:
            return
        try:
            found = iter(describer.describe(sightings))
        except Exception as error:  # noqa: BLE001 - as above
            if len(work) > 1:
                for one in work:
                    self._describe(kind, [one])
                return
            stamp = work[0].frame.stamp
            reason = f"{describer.name} failed: {told(error)}"
            log.warning("camera %d, frame %d without %s: %s", stamp.camera, stamp.frame_index, kind, reason)
            self.counts[f"failed_{kind}"] += len(sightings)
            return
        for one in work:
            rows = one.sightings[kind][0]
            seen = [(row, each) for row, each in zip(rows, found, strict=False) if each is not None]
            if seen:
                one.features[kind] = Features(
                    of=np.array([row for row, _ in seen], np.int32),
                    vectors=np.stack([each.vector for _, each in seen]),
                    quality=np.array([each.quality for _, each in seen], np.float32),
                )
                self.counts[kind] += len(seen)

    def _people(self, work: _Work, appearance: Features | None) -> People:
        features = work.features
        if appearance is not None and len(appearance.of):
            features[APPEARANCE] = appearance
            self.counts["embeddings"] += len(appearance.of)
        self.counts["people"] += len(work.found)
        motion = work.frame.motion
        return People(
            stamp=work.frame.stamp,
            boxes=work.found.boxes,
            scores=work.found.scores,
            flow=work.flow,
            camera_motion=np.eye(2, 3, dtype=np.float32) if motion is None else motion.camera,
            features=features,
        )
