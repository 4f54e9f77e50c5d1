"""Files from the network, each with a pinned hash.

What arrives goes into `NAME.part` beside the destination and is renamed only once its hash is right, so
a file that exists is a whole one.  An interrupted download goes on where it stopped.  Of several processes
that want the same file one downloads it, holding a lock on `NAME.part`, and the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import logging
import math
import os
import re
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tqdm import tqdm

from shared.errors import DownloadError

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
"""Longest wait for a connection, and for the next bytes on it."""

ATTEMPTS = 3
"""Connections made for one file when they break off early."""

CHUNK_BYTES = 1 << 16
PART = ".part"


class UnreachableError(DownloadError):
    """The host did not answer at all: asking it for another file would not help."""


class _InterruptedError(Exception):
    """The connection broke off; what came so far is kept."""


def cache_folder() -> Path:
    """Where downloads are kept: TRACKING_SYSTEM_CACHE, else tracking-system in the user's cache folder."""
    if own := os.environ.get("TRACKING_SYSTEM_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tracking-system"


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(
    address: str, destination: Path, sha256: str, bytes_total: int | None = None, progress: bool = True
) -> Path:
    """Download `address` to `destination` and return that path; a right file already there is kept.

    sha256: what the content must have, in hexadecimal; its first 8 digits or more will do.
    bytes_total: the content's length where it is known; more than that is not accepted.
    progress: show it, as a bar where stderr is a terminal, else as log lines.

    Raises UnreachableError where the host does not answer, DownloadError where it refuses, breaks off
    again and again, sends something else than was pinned (nothing of it stays), or where the disk
    refuses.
    """
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise DownloadError(f"{address} is not an http or https address")
    part = destination.with_name(destination.name + PART)
    try:
        if destination.is_file() and sha256_of(destination).startswith(sha256):
            return destination
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(part):
            if destination.is_file() and sha256_of(destination).startswith(sha256):
                return destination  # another process had it under way
            _receive(address, part, sha256, bytes_total, progress)
            part.replace(destination)
    except OSError as error:
        raise DownloadError(
            f"{destination} cannot be written ({error.strerror or error}): free some space, or set "
            "TRACKING_SYSTEM_CACHE to a folder that can be written"
        ) from None
    log.info("downloaded %s (%d bytes)", destination.name, destination.stat().st_size)
    return destination


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """A new file beside `destination`, for this process alone, that takes its name when the block ends well.

    Otherwise nothing of it stays.  The folder is made where there is none.  Raises OSError.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    unfinished = destination.with_name(f"{destination.name}.{secrets.token_hex(8)}{PART}")
    try:
        unfinished.touch(exist_ok=False)
        yield unfinished
        unfinished.replace(destination)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _claimed(part: Path) -> Iterator[None]:
    """Have `part` for this process alone, after waiting for another one that has it; raises OSError."""
    while True:
        with part.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process is downloading %s: waiting for it", part.name.removesuffix(PART))
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, part):
                continue  # the other one has finished or given up the file that this lock is on
            try:
                yield
            finally:
                if _is_at(file, part) and not _size(part):
                    part.unlink()
            return


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _receive(address: str, part: Path, sha256: str, bytes_total: int | None, progress: bool) -> None:
    """Fill `part` until its hash is right; raises DownloadError, and OSError for the disk."""
    attempt, old_bytes = 1, _size(part)
    if bytes_total is not None and old_bytes > bytes_total:
        os.truncate(part, 0)  # not removed: the lock is on this file
        old_bytes = 0
    while True:
        try:
            if bytes_total is None or _size(part) < bytes_total:
                _transfer(address, part, bytes_total, progress)
        except _InterruptedError as error:
            if attempt >= ATTEMPTS:
                raise DownloadError(
                    f"{address} broke off {attempt} times ({error}): run the same command again; it goes "
                    f"on from the {_size(part)} bytes that came"
                ) from None
            attempt += 1
            continue
        found = sha256_of(part)
        if found.startswith(sha256):
            return
        os.truncate(part, 0)
        if old_bytes == 0:
            raise DownloadError(
                f"{address} sent something else than was pinned (sha256 {found[:16]}..., expected "
                f"{sha256[:16]}...): nothing of it was kept; a proxy may have answered instead, or the "
                "file there has changed"
            )
        log.info("what was left of an earlier download of %s did not fit; beginning again", address)
        old_bytes = 0


def _transfer(address: str, part: Path, bytes_total: int | None, progress: bool) -> None:
    """One connection: append to `part`, or begin it anew where the server cannot go on."""
    start = _size(part)
    request = urllib.request.Request(address, headers={"User-Agent": "tracking-system"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    host = urllib.parse.urlsplit(address).netloc
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the hash tells whether what is there is right
        raise DownloadError(
            f"{address} answered {error.code} {error.reason}: see whether it has moved"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UnreachableError(
            f"{host} cannot be reached ({reason}): check this machine's network and proxy settings"
        ) from None
    with response:
        if not _continues(response, start):
            start = 0
        length = response.headers.get("Content-Length", "")
        expected = start + int(length) if length.isdecimal() else bytes_total
        most = math.inf if bytes_total is None else bytes_total
        _append(response, part, start, expected=expected, most=most, progress=progress)


def _append(
    response: http.client.HTTPResponse,
    part: Path,
    start: int,
    *,
    expected: int | None,
    most: float,
    progress: bool,
) -> None:
    """Write what comes; `expected` is the whole length if it is known, beyond `most` bytes it stops."""
    name = part.name.removesuffix(PART)
    bar = progress and sys.stderr.isatty()
    if progress and not bar:
        log.info("downloading %s (%s bytes)", name, "unknown" if expected is None else expected)
    received = start
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(
            desc=name, total=expected, initial=start, unit="B", unit_scale=True, disable=not bar, leave=False
        ) as shown,
    ):
        while received <= most:
            try:
                chunk = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _InterruptedError(str(error) or type(error).__name__) from None
            if not chunk:
                break
            file.write(chunk)
            received += len(chunk)
            shown.update(len(chunk))
    if expected is not None and received < expected:
        raise _InterruptedError(f"{received} of {expected} bytes came")


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends what lies behind `start` rather than everything."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return False
    place = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if place is None or int(place[1]) != start:
        raise _InterruptedError("the server continued at another place")
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
