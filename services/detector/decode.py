"""JPEG bytes to pixels, in buffers that are used again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import simplejpeg

from services.detector.failure import FrameFailure
from services.detector.picture import Image, Picture
from services.detector.pool import PicturePool
from shared.errors import MessageError
from shared.jpeg import read_header
from shared.messages import Frame

LARGEST_POOL = 256
"""Idle buffers kept; no more than are in work at once are ever made."""

LARGEST_POOL_BYTES = 768 << 20
"""Bytes of idle buffers kept: 256 of 1280x720 take 680 MB."""

LARGEST_KEPT_BYTES = 32 << 20
"""A buffer whose picture turned out damaged is used again up to this size, which 3840x2160 is below; a larger
one is freed, so that damaged headers cannot fill the pool."""


class Decoder(Protocol):
    """Makes pictures of frames for one family of networks."""

    @property
    def pool(self) -> PicturePool:
        """Where the pictures' buffers come from."""

    def decode(self, frames: Sequence[Frame]) -> list[Picture | FrameFailure]:
        """One picture a frame, in order, or why it has none.  Never raises for what a frame holds."""

    def release(self, pictures: Sequence[Picture]) -> None:
        """Take the buffers back; nobody may look at these pictures, or parts of them, any more."""


class MemoryDecoder:
    """Pictures in this process's memory."""

    def __init__(self, pool: PicturePool | None = None, workers: int = 1) -> None:
        """workers: frames decoded at once, on as many cores."""
        self.pool = pool or PicturePool(LARGEST_POOL, LARGEST_POOL_BYTES)
        self._workers = ThreadPoolExecutor(workers, "decode") if workers > 1 else None

    def decode(self, frames: Sequence[Frame]) -> list[Picture | FrameFailure]:
        """As `Decoder.decode`."""
        if self._workers is None or len(frames) == 1:
            return [self._decoded(frame) for frame in frames]
        return list(self._workers.map(self._decoded, frames))

    def release(self, pictures: Sequence[Picture]) -> None:
        """As `Decoder.release`."""
        for each in pictures:
            if isinstance(each, np.ndarray):
                self.pool.release(each)

    def _decoded(self, frame: Frame) -> Image | FrameFailure:
        return decode(frame, self.pool)


def decode(frame: Frame, pool: PicturePool | None = None) -> Image | FrameFailure:
    """The frame's picture, uint8 (height, width, 3) BGR, or why it has none.

    pool: gives the buffer, and has it back where the picture fails.  A picture that stops early or is
    damaged is refused: the decoder would fill the rest with grey.  So is one that memory has no room for.
    """
    told = unusable(frame)
    if told:
        return FrameFailure(frame.stamp, told)
    shape = (frame.stamp.height, frame.stamp.width, 3)
    buffer: Image | None = None
    try:
        buffer = pool.acquire(shape) if pool else np.empty(shape, np.uint8)
        simplejpeg.decode_jpeg(frame.jpeg, "BGR", buffer=buffer)
    except ValueError as error:
        if pool and buffer is not None and buffer.nbytes <= LARGEST_KEPT_BYTES:
            pool.release(buffer)
        return FrameFailure(frame.stamp, f"damaged JPEG ({len(frame.jpeg)} bytes): {error}")
    except MemoryError:
        return FrameFailure(frame.stamp, f"no memory for a picture of {shape[1]}x{shape[0]} pixels")
    return buffer


def unusable(frame: Frame) -> str:
    """Why the frame's JPEG is not worth decoding, told by its markers; empty where it is."""
    try:
        header = read_header(frame.jpeg)
    except MessageError as error:
        return str(error)
    stamp = frame.stamp
    if (header.width, header.height) != (stamp.width, stamp.height):
        return f"the JPEG is {header.width}x{header.height}, its header says {stamp.width}x{stamp.height}"
    return ""
