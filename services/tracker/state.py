"""The tracker's state as bytes: msgpack with numpy arrays, never pickle.

Arrays are stored without loss in the fewest bytes that hold them: rows of zeros are left out, and float64
values that float32 can represent exactly take four bytes.  Embeddings arrive as float32 and most detections
of a frame have none, so this divides the size of a checkpoint by about eight.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from shared.errors import TrackingError

_ARRAY = 1
_SPARSE_ARRAY = 2
_DTYPES = ("float64", "int64", "float16")
_NARROW = "float64 as float32"


def _default(value: Any) -> msgpack.ExtType:
    if not isinstance(value, np.ndarray) or value.dtype.name not in _DTYPES:
        raise TypeError(f"the tracker's state cannot hold a {type(value).__name__}")
    if value.ndim == 2 and value.shape[1] > 1:
        present = value.any(axis=1)
        if 2 * int(present.sum()) < len(value):
            rows = np.flatnonzero(present)
            content = [len(value), rows.astype(np.int64).tobytes(), _dense(value[rows])]
            return msgpack.ExtType(_SPARSE_ARRAY, msgpack.packb(content))
    return msgpack.ExtType(_ARRAY, msgpack.packb(_dense(value)))


def _dense(value: NDArray[Any]) -> list[Any]:
    if value.dtype == np.float64:
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = value.astype(np.float32)
        if np.array_equal(narrow, value, equal_nan=True):
            return [_NARROW, value.shape, narrow.tobytes()]
    return [value.dtype.name, value.shape, value.tobytes()]


def _array(code: int, data: bytes) -> NDArray[Any]:
    content = msgpack.unpackb(data)
    if code == _ARRAY:
        return _restored(content)
    if code != _SPARSE_ARRAY:
        raise ValueError("an unknown extension type")
    length, rows, dense = content
    some = _restored(dense)
    whole = np.zeros((length, some.shape[1]), some.dtype)
    whole[np.frombuffer(rows, np.int64)] = some
    return whole


def _restored(content: Any) -> NDArray[Any]:
    dtype, shape, data = content
    if dtype == _NARROW:
        return np.frombuffer(data, np.float32).reshape(shape).astype(np.float64)
    if dtype not in _DTYPES:
        raise ValueError("an unknown dtype")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def pack(value: Any) -> bytes:
    """Plain values and float64, float16 or int64 arrays to bytes; restored bit for bit, but for -0.0."""
    packed: bytes = msgpack.packb(value, default=_default)
    return packed


def unpack(data: bytes) -> Any:
    """What was packed; raises TrackingError on anything else."""
    try:
        return msgpack.unpackb(data, ext_hook=_array, strict_map_key=False)
    except (ValueError, TypeError, IndexError, msgpack.UnpackException, RecursionError) as error:
        raise TrackingError(
            f"the stored state of the tracker is damaged ({error}): start with an empty database"
        ) from None
