"""Machine code for the loops that run for every pair of every frame.

`compiled` is numba's `njit` with a cache on disk whose folder is named after the sources of all such
functions: numba itself notices only changes of the file a function is in, not of those whose functions it
calls.  Where nothing can be written the functions are compiled anew in every process, and all else is the
same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config as _numba

from shared.download import cache_folder

Function = TypeVar("Function", bound=Callable[..., Any])


def _folder() -> str:
    """Where the code for exactly these sources is kept; empty where nothing can be written."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        content = source.read_bytes()
        if b"@compiled" in content:
            digest.update(content)
    try:
        folder = cache_folder() / f"compiled-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
    except OSError:
        return ""
    return str(folder)


_FOLDER = _folder()


def kept() -> bool:
    """Whether machine code of these sources has been kept before, so that nothing has to be compiled."""
    return bool(_FOLDER) and any(Path(_FOLDER).rglob("*.nbi"))


def compiled(function: Function) -> Function:
    """Compile a function of numbers and arrays when it is first called; exact floating point, one thread."""
    before = _numba.CACHE_DIR
    _numba.CACHE_DIR = _FOLDER
    try:
        made: Function = numba.njit(cache=bool(_FOLDER), fastmath=False, nogil=True)(function)
    finally:
        _numba.CACHE_DIR = before
    return made
