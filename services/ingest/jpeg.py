"""JPEG encoding of the frames that are sent."""

from __future__ import annotations

import cv2

from services.ingest.pool import Image
from shared.errors import SourceError
from shared.limits import MAX_JPEG_BYTES


class JpegEncoder:
    """Encodes at one quality, with 4:2:0 chroma and standard Huffman tables.

    Full chroma costs 65 % more time and 20 % more bytes, tables made for each picture 2.5 times the
    time for 6 % fewer bytes; neither helps to find people.
    """

    def __init__(self, quality: int) -> None:
        self._parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]

    def encode(self, image: Image) -> memoryview:
        """The JPEG file of a BGR picture, not copied out of the encoder's own memory.

        Raises SourceError where the picture cannot be a JPEG (a side of more than 65,535 pixels), and where
        its JPEG is longer than can be sent.
        """
        try:
            encoded, data = cv2.imencode(".jpg", image, self._parameters)
        except cv2.error as error:
            encoded, reason = False, f": {error.err}"
        else:
            reason = ""
        if not encoded:
            raise SourceError(f"a frame of {_size(image)} cannot be encoded as JPEG{reason}")
        if len(data) > MAX_JPEG_BYTES:
            raise SourceError(
                f"a frame of {_size(image)} takes {len(data)} bytes as JPEG, at most {MAX_JPEG_BYTES} can be "
                "sent: lower `jpeg_quality`, or scale the pictures down"
            )
        return data.data


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
