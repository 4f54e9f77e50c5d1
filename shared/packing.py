"""The header and the buffers of one message, written and, field by field, checked and read.

A header holds a list of fields and, for every buffer behind it, dtype and shape.  What is read raises
`MessageError` where it is not what was expected; arrays are read-only views of the received buffers.
What is written is held to the same limits, so that no receiver refuses what a sender could make.
"""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from shared.errors import MessageError
from shared.limits import (
    MAX_AREA_PX,
    MAX_CAMERA,
    MAX_FEATURE_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_JPEG_BYTES,
    MAX_PEOPLE,
    MAX_SIDE_PX,
    MAX_T_NS,
    MAX_TEXT,
    PART_BYTES,
)
from shared.messages import Buffer, FrameStamp

INT64_MAX = (1 << 63) - 1
STAMP_FIELDS = 6


class Packer:
    """Collects the arrays of one message while its header is made."""

    def __init__(self) -> None:
        self.arrays: list[tuple[str, list[int]]] = []
        self.buffers: list[Buffer] = []

    def array(self, value: NDArray[Any], dtype: str, *, most: int = MAX_PEOPLE, finite: bool = True) -> None:
        """Put an array of this dtype behind the header, not copied where it is contiguous.

        most: rows allowed.  Raises MessageError for more, for rows of more than MAX_FEATURE_DIMENSIONS
            numbers, and for NaN and infinity where all must be finite.
        """
        contiguous = np.ascontiguousarray(value, dtype=dtype)
        if len(contiguous) > most:
            raise MessageError(f"an array of {len(contiguous)} rows, at most {most} are allowed")
        if max(contiguous.shape[1:], default=0) > MAX_FEATURE_DIMENSIONS:
            raise MessageError(
                f"an array of shape {contiguous.shape}, at most {MAX_FEATURE_DIMENSIONS} numbers a row are "
                "allowed"
            )
        if finite and dtype == "float32" and not np.isfinite(contiguous).all():
            raise MessageError("an array holds NaN or infinity")
        self.arrays.append((dtype, list(contiguous.shape)))
        # memoryview cannot cast arrays with a zero in their shape; an empty buffer says the same.
        self.buffers.append(contiguous.data.cast("B") if contiguous.size else b"")

    def raw(self, value: Buffer, most: int = MAX_JPEG_BYTES) -> None:
        """Put bytes behind the header as they are, in parts of `PART_BYTES` where they are long.

        Raises MessageError for more than `most`.
        """
        length = len(value)
        if length > most:
            raise MessageError(f"{length} bytes, at most {most} are allowed")
        self.arrays.append(("raw", [length]))
        if length <= PART_BYTES:
            self.buffers.append(value)
        else:
            whole = memoryview(value)
            self.buffers += [whole[at : at + PART_BYTES] for at in range(0, length, PART_BYTES)]


class Unpacker:
    """Hands out the fields and buffers of one message, each checked as it is taken."""

    def __init__(self, header: dict[str, Any], buffers: Sequence[Buffer]) -> None:
        fields, arrays = header.get("f"), header.get("a")
        if not isinstance(fields, list) or not isinstance(arrays, list) or len(arrays) > len(buffers):
            raise MessageError("header without its fields, or with more buffers than there are")
        self._fields = iter(fields)
        self._arrays = iter(arrays)
        self._buffers = iter(buffers)

    def _next(self) -> Any:
        try:
            return next(self._fields)
        except StopIteration:
            raise MessageError("a field is missing") from None

    def integer(self, low: int = 0, high: int = INT64_MAX) -> int:
        """The next field, an integer from low to high."""
        value = self._next()
        if type(value) is not int or not low <= value <= high:
            raise MessageError(f"expected an integer from {low} to {high}, got {shown(value)}")
        return value

    def number(self) -> float:
        """The next field, a finite number."""
        value = self._next()
        if type(value) not in (int, float) or not math.isfinite(value):
            raise MessageError(f"expected a finite number, got {shown(value)}")
        return float(value)

    def text(self, choices: Sequence[str] = ()) -> str:
        """The next field, a text of at most MAX_TEXT characters, one of `choices` if there are any."""
        value = self._next()
        if not isinstance(value, str) or len(value) > MAX_TEXT or (choices and value not in choices):
            raise MessageError(f"expected {' or '.join(choices) or 'a text'}, got {shown(value)}")
        return value

    def mapping(self, most: int) -> dict[Any, Any]:
        """The next field, a mapping of at most so many whose content is not looked at."""
        value = self._next()
        if not isinstance(value, dict) or len(value) > most:
            raise MessageError(f"expected a mapping of at most {most}")
        return value

    def sequence(self, most: int) -> list[Any]:
        """The next field, a list of at most so many whose content is not looked at."""
        value = self._next()
        if not isinstance(value, list) or len(value) > most:
            raise MessageError(f"expected a list of at most {most}")
        return value

    def stamp(self) -> FrameStamp:
        """The next six fields."""
        # In every frame's way: one comparison of all six instead of six calls of `integer`.
        return stamp_of(tuple(itertools.islice(self._fields, STAMP_FIELDS)))

    def _buffer(self) -> tuple[Any, Buffer]:
        try:
            described, buffer = next(self._arrays), next(self._buffers)
        except StopIteration:
            raise MessageError("a buffer is missing") from None
        if not isinstance(described, list) or len(described) != 2:
            raise MessageError("a buffer without dtype and shape")
        return described, buffer

    def array(
        self, dtype: str, shape: tuple[int | None, ...], *, most: int = MAX_PEOPLE, finite: bool = True
    ) -> NDArray[Any]:
        """The next array; None in `shape` leaves that side free.

        The first side, the rows, goes up to `most`, another up to MAX_FEATURE_DIMENSIONS.
        """
        (got_dtype, got_shape), buffer = self._buffer()
        if got_dtype != dtype or not isinstance(got_shape, list) or len(got_shape) != len(shape):
            raise MessageError(f"expected {dtype} of {len(shape)} dimensions, got {shown(got_dtype)}")
        for side, (got, wanted) in enumerate(zip(got_shape, shape, strict=True)):
            low, high = (0, MAX_FEATURE_DIMENSIONS if side else most) if wanted is None else (wanted, wanted)
            if type(got) is not int or not low <= got <= high:
                raise MessageError(f"expected shape {shape}, got {shown(got_shape)}, at most {high}")
        if math.prod(got_shape) * np.dtype(dtype).itemsize != len(buffer):
            raise MessageError("a buffer is not as long as its shape says")
        value = np.frombuffer(buffer, dtype=dtype).reshape(got_shape)
        if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise MessageError("an array holds NaN or infinity")
        if value.dtype.kind == "b" and (value.view(np.uint8) > 1).any():
            raise MessageError("a truth value is neither 0 nor 1")
        value.flags.writeable = False
        return value

    def rows(
        self, dtype: str, *, columns: int | None = None, most: int = MAX_PEOPLE, finite: bool = True
    ) -> NDArray[Any]:
        """The next array, (N,) or (N, columns), of at most so many rows."""
        return self.array(dtype, (None,) if columns is None else (None, columns), most=most, finite=finite)

    def raw(self, most: int = MAX_JPEG_BYTES) -> Buffer:
        """The next bytes, at most so many: as they came, or joined where they came in several parts."""
        (kind, shape), buffer = self._buffer()
        if kind != "raw" or not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int:
            raise MessageError("expected a raw buffer")
        length = shape[0]
        if length > most:
            raise MessageError(f"{length} bytes, at most {most} are allowed")
        parts = [buffer, *itertools.islice(self._buffers, max(0, -(-length // PART_BYTES) - 1))]
        if sum(map(len, parts)) != length or any(len(part) != PART_BYTES for part in parts[:-1]):
            raise MessageError("a raw buffer is not as long as the header says")
        return buffer if len(parts) == 1 else b"".join(parts)

    def done(self) -> None:
        """Raises MessageError where anything is left."""
        if any(next(each, self) is not self for each in (self._fields, self._arrays, self._buffers)):
            raise MessageError("more fields or buffers than the type has")


def stamp_of(values: Sequence[Any]) -> FrameStamp:
    """The stamp with these six fields; raises MessageError where a value is none or out of its range."""
    if len(values) != STAMP_FIELDS or any(type(value) is not int for value in values):
        raise MessageError(f"a stamp is six integers, not {shown(values)}")
    camera, session, frame_index, t_ns, width, height = values
    if not (
        1 <= camera <= MAX_CAMERA
        and 0 <= session <= INT64_MAX
        and 0 <= frame_index <= INT64_MAX
        and 0 <= t_ns <= MAX_T_NS
    ):
        raise MessageError(
            f"a stamp out of range: {shown(values)}; a camera is 1 to {MAX_CAMERA}, a time before 2200"
        )
    if not (0 <= width <= MAX_SIDE_PX and 0 <= height <= MAX_SIDE_PX and width * height <= MAX_AREA_PX):
        raise MessageError(
            f"a frame of {shown(width)}x{shown(height)} pixels, at most {MAX_SIDE_PX} a side and "
            f"{MAX_AREA_PX} in all are allowed"
        )
    return FrameStamp(camera, session, frame_index, t_ns, width, height)


def sendable_text(value: str) -> str:
    """A text as it can be sent: cut to MAX_TEXT, and what UTF-8 has no bytes for (of a file's name) as ?."""
    return value[:MAX_TEXT].encode(errors="replace").decode()


def unpack_header(buffer: Buffer) -> dict[str, Any]:
    """A msgpack mapping with text keys; raises MessageError on anything else."""
    if len(buffer) > MAX_HEADER_BYTES:
        raise MessageError(f"a header of {len(buffer)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    try:
        header = msgpack.unpackb(buffer, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise MessageError(f"not msgpack: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise MessageError("the header is not a mapping")
    return header


def shown(value: object) -> str:
    """A received value for the text of an error: short, however long or deeply nested it is."""
    return reprlib.repr(value)[:80]
