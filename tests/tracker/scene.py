"""A small world with known truth: people walk through cameras, a detector sees them imperfectly."""

from __future__ import annotations

import numpy as np

from shared.messages import Features, FrameStamp, People

WIDTH, HEIGHT = 640, 480
START_NS = 1_700_000_000_000_000_000
STILL = np.eye(2, 3, dtype=np.float32)


def people(
    boxes: object,
    *,
    camera: int = 1,
    frame: int = 0,
    t_s: float | None = None,
    scores: object = None,
    vectors: object = None,
    of: object = None,
    session: int = 0,
    fps: float = 10.0,
) -> People:
    """One message; with `vectors` but no `of` every box has its embedding."""
    box = np.asarray(boxes, np.float32).reshape(-1, 4)
    t_s = frame / fps if t_s is None else t_s
    features = {}
    if vectors is not None:
        rows = np.arange(len(box)) if of is None else np.asarray(of)
        features["appearance"] = Features(
            rows.astype(np.int32),
            np.asarray(vectors, np.float32),
            np.full(len(rows), 0.8, np.float32),
        )
    return People(
        stamp=FrameStamp(camera, session, frame, START_NS + round(t_s * 1e9), WIDTH, HEIGHT),
        boxes=box,
        scores=np.full(len(box), 0.9, np.float32) if scores is None else np.asarray(scores, np.float32),
        flow=np.full((len(box), 2), np.nan, np.float32),
        camera_motion=STILL,
        features=features,
    )


def look(person: int, noise: float = 0.3, seed: int = 0, dimensions: int = 64) -> np.ndarray:
    """An embedding of a person: their own direction and some noise."""
    own = np.random.default_rng(1000 + person).normal(size=dimensions)
    other = np.random.default_rng((seed, person)).normal(size=dimensions)
    vector = own / np.linalg.norm(own) + noise * other / np.linalg.norm(other)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def world(seed: int, frames: int = 60, persons: int = 4, cameras: int = 2) -> list[People]:
    """People who cross camera after camera, with misses, jitter, false boxes and sparse embeddings."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 2.0, persons)
    speed = rng.uniform(200, 400, persons) * rng.choice([-1, 1], persons)
    foot = rng.uniform(250, 470, persons)
    messages = []
    for frame in range(frames):
        for camera in range(1, cameras + 1):
            boxes: list[np.ndarray] = []
            vectors: list[np.ndarray] = []
            of: list[int] = []
            for person in range(persons):
                x = (frame / 10 - start[person]) * abs(speed[person]) - (camera - 1) * (WIDTH + 100)
                x = x if speed[person] > 0 else WIDTH - x
                if not -20 < x < WIDTH + 20 or rng.random() < 0.1:
                    continue
                box = np.array([x - 30, foot[person] - 160, x + 30, foot[person]]) + rng.normal(0, 3, 4)
                if frame % 3 == 0:
                    of.append(len(boxes))
                    vectors.append(look(person, seed=int(rng.integers(1 << 30))))
                boxes.append(box)
            if rng.random() < 0.1:
                x, y = rng.uniform(0, 500, 2)
                boxes.append(np.array([x, y, x + 50, y + 120]))
            messages.append(
                people(
                    boxes,
                    camera=camera,
                    frame=frame,
                    vectors=np.array(vectors).reshape(-1, 64) if of else None,
                    of=of,
                )
            )
    return messages
