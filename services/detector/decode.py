"""JPEG bytes to pixels."""

from __future__ import annotations

import cv2
import numpy as np

from services.detector.failure import FrameFailure
from services.detector.family import Image
from shared.messages import Frame

END_OF_IMAGE = b"\xff\xd9"


def decode(frame: Frame) -> Image | FrameFailure:
    """The frame's picture, uint8 (height, width, 3) BGR, or why it has none.

    A picture that stops early is refused: the decoder would fill the rest with grey.
    """
    data = np.frombuffer(frame.jpeg, np.uint8)
    if bytes(data[-2:]) != END_OF_IMAGE:
        return FrameFailure(frame.stamp, f"not a whole JPEG ({len(data)} bytes)")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        return FrameFailure(frame.stamp, f"JPEG refused: {error.err}")
    if image is None:
        return FrameFailure(frame.stamp, f"damaged JPEG ({len(data)} bytes)")
    expected = (frame.stamp.height, frame.stamp.width, 3)
    if image.shape != expected or image.dtype != np.uint8:
        return FrameFailure(
            frame.stamp,
            f"the JPEG is {image.shape[1]}x{image.shape[0]}, its header says {expected[1]}x{expected[0]}",
        )
    return np.asarray(image, np.uint8)
