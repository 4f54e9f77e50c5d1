"""The tracker's memory as bytes: msgpack with numpy arrays, never pickle."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from shared.errors import TrackingError

_ARRAY = 1
_DTYPES = ("float64", "int64")


def _default(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.ndarray) and value.dtype.name in _DTYPES:
        packed: bytes = msgpack.packb([value.dtype.name, value.shape, value.tobytes()])
        return msgpack.ExtType(_ARRAY, packed)
    raise TypeError(f"the tracker's memory holds no {type(value).__name__}")


def _array(code: int, data: bytes) -> NDArray[Any]:
    if code != _ARRAY:
        raise ValueError("an unknown extension type")
    dtype, shape, content = msgpack.unpackb(data)
    if dtype not in _DTYPES:
        raise ValueError("an unknown dtype")
    return np.frombuffer(content, dtype).reshape(shape).copy()


def pack(value: Any) -> bytes:
    """Plain values and float64 or int64 arrays to bytes."""
    packed: bytes = msgpack.packb(value, default=_default)
    return packed


def unpack(data: bytes) -> Any:
    """What was packed; raises TrackingError on anything else."""
    try:
        return msgpack.unpackb(data, ext_hook=_array, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise TrackingError(
            f"the stored state of the tracker is damaged ({error}): start with an empty database"
        ) from None
