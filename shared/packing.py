"""The header and the buffers of one message, written and, field by field, checked and read.

A header holds a list of fields and, for every buffer behind it, dtype and shape.  What is read raises
`MessageError` where it is not what was expected; arrays are read-only views of the received buffers.
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
from shared.messages import MAX_PEOPLE, Buffer, FrameStamp

MAX_HEADER_BYTES = 1 << 22
MAX_SIDE_PX = 1 << 15
MAX_FEATURE_DIMENSIONS = 4096
MAX_TEXT = 1024

INT64_MAX = (1 << 63) - 1


class Packer:
    """Collects the arrays of one message while its header is made."""

    def __init__(self) -> None:
        self.arrays: list[tuple[str, list[int]]] = []
        self.buffers: list[Buffer] = []

    def array(self, value: NDArray[Any], dtype: str) -> None:
        """Put an array of this dtype behind the header, not copied where it is contiguous."""
        contiguous = np.ascontiguousarray(value, dtype=dtype)
        self.arrays.append((dtype, list(contiguous.shape)))
        # memoryview cannot cast arrays with a zero in their shape; an empty buffer says the same.
        self.buffers.append(contiguous.data.cast("B") if contiguous.size else b"")

    def raw(self, value: Buffer) -> None:
        """Put bytes behind the header as they are."""
        self.arrays.append(("raw", [len(value)]))
        self.buffers.append(value)


class Unpacker:
    """Hands out the fields and buffers of one message, each checked as it is taken."""

    def __init__(self, header: dict[str, Any], buffers: Sequence[Buffer]) -> None:
        fields, arrays = header.get("f"), header.get("a")
        if not isinstance(fields, list) or not isinstance(arrays, list) or len(arrays) != len(buffers):
            raise MessageError("header without its fields, or with other buffers than it names")
        self._fields = iter(fields)
        self._arrays = iter(zip(arrays, buffers, strict=True))

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

    def mapping(self) -> dict[Any, Any]:
        """The next field, a mapping whose content is not looked at."""
        value = self._next()
        if not isinstance(value, dict):
            raise MessageError("expected a mapping")
        return value

    def sequence(self, most: int) -> list[Any]:
        """The next field, a list of at most so many whose content is not looked at."""
        value = self._next()
        if not isinstance(value, list) or len(value) > most:
            raise MessageError("expected a list")
        return value

    def stamp(self) -> FrameStamp:
        """The next six fields."""
        # In every frame's way: one comparison of all six instead of six calls of `integer`.
        values = tuple(itertools.islice(self._fields, 6))
        if len(values) < 6 or any(type(value) is not int for value in values):
            raise MessageError(f"a stamp is six integers, not {shown(values)}")
        camera, session, frame_index, t_ns, width, height = values
        if not (
            1 <= camera <= INT64_MAX
            and 0 <= session <= INT64_MAX
            and 0 <= frame_index <= INT64_MAX
            and 0 <= t_ns <= INT64_MAX
            and 0 <= width <= MAX_SIDE_PX
            and 0 <= height <= MAX_SIDE_PX
        ):
            raise MessageError(f"a stamp out of range: {shown(values)}")
        return FrameStamp(camera, session, frame_index, t_ns, width, height)

    def _buffer(self) -> tuple[Any, Buffer]:
        try:
            described, buffer = next(self._arrays)
        except StopIteration:
            raise MessageError("a buffer is missing") from None
        if not isinstance(described, list) or len(described) != 2:
            raise MessageError("a buffer without dtype and shape")
        return described, buffer

    def array(self, dtype: str, shape: tuple[int | None, ...], *, finite: bool = True) -> NDArray[Any]:
        """The next array; None in `shape` leaves that side free, up to MAX_PEOPLE."""
        (got_dtype, got_shape), buffer = self._buffer()
        if got_dtype != dtype or not isinstance(got_shape, list) or len(got_shape) != len(shape):
            raise MessageError(f"expected {dtype} of {len(shape)} dimensions, got {shown(got_dtype)}")
        for got, wanted in zip(got_shape, shape, strict=True):
            most = MAX_FEATURE_DIMENSIONS if wanted is None else wanted
            if type(got) is not int or not (0 if wanted is None else wanted) <= got <= most:
                raise MessageError(f"expected shape {shape}, got {shown(got_shape)}")
        if math.prod(got_shape) * np.dtype(dtype).itemsize != len(buffer):
            raise MessageError("a buffer is not as long as its shape says")
        value = np.frombuffer(buffer, dtype=dtype).reshape(got_shape)
        if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise MessageError("an array holds NaN or infinity")
        if value.dtype.kind == "b" and (value.view(np.uint8) > 1).any():
            raise MessageError("a truth value is neither 0 nor 1")
        value.flags.writeable = False
        return value

    def rows(self, dtype: str, *, columns: int | None = None, finite: bool = True) -> NDArray[Any]:
        """The next array, (N,) or (N, columns), of at most MAX_PEOPLE rows."""
        shape = (None,) if columns is None else (None, columns)
        value = self.array(dtype, shape, finite=finite)
        if len(value) > MAX_PEOPLE:
            raise MessageError(f"more than {MAX_PEOPLE} people in one message")
        return value

    def raw(self) -> Buffer:
        """The next buffer, as it came."""
        (kind, shape), buffer = self._buffer()
        if kind != "raw" or shape != [len(buffer)]:
            raise MessageError("expected a raw buffer of the length the header says")
        return buffer

    def done(self) -> None:
        """Raises MessageError where anything is left."""
        if next(self._fields, self) is not self or next(self._arrays, self) is not self:
            raise MessageError("more fields or buffers than the type has")


def unpack_header(buffer: Buffer) -> dict[str, Any]:
    """A msgpack mapping with text keys; raises MessageError on anything else."""
    if len(buffer) > MAX_HEADER_BYTES:
        raise MessageError("header too long")
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
