"""What a frame's JPEG says about itself, read from its markers before anything is allocated for it.

Frames are sequential Huffman-coded JPEGs, as the ingest makes them.  Progressive and arithmetic-coded ones
are refused: a few kilobytes of them can demand hundreds of passes over a picture of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shared.errors import MessageError
from shared.limits import MAX_AREA_PX, MAX_SIDE_PX
from shared.messages import Buffer

END_OF_IMAGE = b"\xff\xd9"
START_OF_IMAGE = b"\xff\xd8"
_SCAN = 0xDA
_SEQUENTIAL = (0xC0, 0xC1)
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frames that are progressive, lossless, hierarchical or arithmetic-coded."""

_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a segment behind them."""

MOST_PX_PER_BYTE = 512
"""Each 8x8 block takes at least one bit of a Huffman-coded scan: a byte tells at most so many pixels."""


class JpegHeader(NamedTuple):
    """Size in pixels, and the number of colour components."""

    width: int
    height: int
    components: int


def read_header(data: Buffer) -> JpegHeader:
    """The header of a whole JPEG that may be decoded; raises MessageError, saying why, for any other bytes.

    Looks at markers only: the picture may still turn out damaged when it is decoded.
    """
    view = memoryview(data)
    size = len(view)
    if bytes(view[-2:]) != END_OF_IMAGE:
        raise MessageError(f"not a whole JPEG ({size} bytes)")
    if bytes(view[:2]) != START_OF_IMAGE:
        raise MessageError(f"damaged JPEG ({size} bytes): it begins as something else")
    header = _frame_header(view)
    shape = f"{header.width}x{header.height} pixels"
    if not (0 < header.width <= MAX_SIDE_PX and 0 < header.height <= MAX_SIDE_PX):
        raise MessageError(f"a JPEG of {shape}, 1 to {MAX_SIDE_PX} a side are allowed")
    area_px = header.width * header.height
    if area_px > MAX_AREA_PX:
        raise MessageError(f"a JPEG of {shape}, at most {MAX_AREA_PX} in all are allowed")
    if area_px > MOST_PX_PER_BYTE * size:
        raise MessageError(f"damaged JPEG: {size} bytes cannot hold {shape}")
    return header


def _frame_header(view: memoryview) -> JpegHeader:
    """What the segments in front of the picture say."""
    header: JpegHeader | None = None
    for marker, segment in _segments(view):
        if marker in _SEQUENTIAL and header is None and len(segment) >= 6:
            height, width = (int.from_bytes(segment[n : n + 2], "big") for n in (1, 3))
            header = JpegHeader(width, height, segment[5])
        elif marker in _SEQUENTIAL or marker in _OTHER_FRAMES:
            raise MessageError(
                f"a JPEG of kind SOF{marker - 0xC0}: only one sequential, Huffman-coded frame is allowed"
            )
        elif marker == _SCAN:
            # Where the first scan holds all components, decoders take no other one.
            if header is None or not len(segment) or segment[0] != header.components:
                break
            return header
    raise MessageError(
        f"damaged JPEG ({len(view)} bytes): no size, or no whole scan, in front of the picture"
    )


def _segments(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Markers and what is in their segments, up to the first scan or to anything that is no marker."""
    at = len(START_OF_IMAGE)
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            length = int.from_bytes(view[at + 2 : at + 4], "big")
            yield marker, view[at + 4 : at + 2 + length]
            at += 2 + max(length, 2)
