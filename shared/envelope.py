"""The first bytes of everything on a link: what it is, and where in which stream.

An envelope is followed, in the same ZeroMQ frame, by the header of the message it carries (or the text
of a refusal): every frame less is a tenth of a hop's cost.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from shared.errors import MessageError

LINK_VERSION = 2

_LAYOUT = struct.Struct(">2sBBIqqqq")
_MAGIC = b"TL"


LIVE = 1
"""Flag of OPEN: the stream is live."""

HAS_END = 2
"""Flag of OPEN: the sender has the end of the stream.  Without it more may follow an end that has arrived."""


class Kind(enum.IntEnum):
    """What an envelope carries.

    From the sender: OPEN (a stream begins or goes on; seq: the oldest message still held; a: `LIVE` and
    `HAS_END`; b: when the sender began, on its clock), DATA (seq: its number), PING (seq: the sender's clock;
    a: its estimate of the receiver's clock minus its own), REPORT (a message outside every stream).
    From the receiver: ACCEPT and ACK (seq: everything below is durable; a: everything below has arrived;
    b: nothing from here on may be sent yet), PONG (seq: the ping's; a: the receiver's clock; session: the
    receiver's incarnation), REOPEN (the stream is not known here), REFUSE (a: a `Refusal`; a text follows).
    """

    OPEN = 1
    DATA = 2
    PING = 3
    REPORT = 4
    ACCEPT = 16
    ACK = 17
    PONG = 18
    REOPEN = 19
    REFUSE = 20


_KINDS = {int(kind): kind for kind in Kind}


class Refusal(enum.IntEnum):
    """What the sender of a refused stream can do about it.

    FOR_GOOD: nothing; the same would be refused again.  START_AGAIN: a new process of its kind will be heard,
    for it can send what this one no longer holds.  ASK_LATER: keep asking; what stands in the way passes.
    """

    FOR_GOOD = 0
    START_AGAIN = 1
    ASK_LATER = 2


class Envelope(NamedTuple):
    """One parsed envelope; the meaning of the numbers is told by `Kind`."""

    kind: Kind
    stream: int = 0
    session: int = 0
    seq: int = 0
    a: int = 0
    b: int = 0

    def pack(self) -> bytes:
        """The 40 bytes on the wire."""
        return _LAYOUT.pack(
            _MAGIC, LINK_VERSION, self.kind, self.stream, self.session, self.seq, self.a, self.b
        )


def unpack(frame: bytes) -> tuple[Envelope, bytes]:
    """The envelope at the head of a frame, and what follows it; raises MessageError on anything else."""
    if len(frame) < _LAYOUT.size:
        raise MessageError("not an envelope")
    magic, version, kind, stream, session, seq, a, b = _LAYOUT.unpack_from(frame)
    if magic != _MAGIC or kind not in _KINDS:
        raise MessageError("not an envelope")
    if version != LINK_VERSION:
        raise MessageError(f"link version {version}, this program speaks {LINK_VERSION}")
    if session < 0 or seq < 0:
        raise MessageError("an envelope with a negative number")
    return Envelope(_KINDS[kind], stream, session, seq, a, b), frame[_LAYOUT.size :]
