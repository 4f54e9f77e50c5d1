"""Limits on what the services accept from each other; `docs/limits.md` lists all of them with reasons."""

from __future__ import annotations

MAX_CAMERA = (1 << 31) - 1
"""Largest camera id: ids are written as 32 bit numbers on the wire."""

MAX_CAMERAS = 1000
"""Cameras in one configuration.  Streams, topics, readings and reports are counted by camera, and every limit
on those below has room for so many; 64 cameras on one detector have been measured."""

MAX_NAME_LENGTH = 200
"""Characters of the name of a camera or a person."""

MAX_IPC_PATH_BYTES = 107
"""Bytes in the path of a Unix socket, without the zero byte behind it (`sun_path`)."""

MAX_T_NS = 7_258_118_400_000_000_000
"""Latest capture time, 2200-01-01, so that a time and a clock's offset together fit 64 bits."""

LATEST_START_NS = 7_226_582_400_000_000_000
"""Latest start of a recording, 2199-01-01: a recording lasts."""

MIN_FPS, MAX_FPS = 0.001, 1000.0
"""Range of a picture folder's frames a second: with fewer, positions would leave the range of times."""

MAX_CLOCK_OFFSET_NS = 1_900_000_000_000_000_000
"""Largest difference between two hosts' clocks, 60 years: a board without a clock starts in 1970."""

MAX_SIDE_PX = 1 << 15
MAX_AREA_PX = 1 << 26
"""Pixels in one frame, 8192x8192: twice an 8K video's, and 200 MB when decoded."""

MAX_JPEG_BYTES = 32 << 20
"""Half a byte a pixel for the largest frame; an ordinary frame takes a tenth of that."""

MAX_PEOPLE = 4096
"""Detections in one frame; more than any camera shows, few enough to refuse garbage."""

MAX_TRACKS = 4 * MAX_PEOPLE
"""Tracks in one frame: those that were detected, and those that are shown on prediction alone."""

MAX_FEATURE_DIMENSIONS = 4096
MAX_FEATURE_KINDS = 8

MAX_ASSIGNMENTS = 1 << 18
"""Tracks that one decision gives another identity; the tracker remembers fewer."""

MAX_SETTLED = 1 << 16
"""Frames settled in one message, some two seconds' worth."""

MAX_SETTLED_ROWS = 1 << 20
"""Boxes in all of these frames together."""

MAX_FOLLOWED = 1024
"""People followed at once: all of them are sent to every viewer twice a second."""

MAX_EXPECTED = 16
"""Cameras named in which one person may appear next."""

MAX_READINGS = 4096
"""Numbers in one report of a process: some are of one camera each.  The sender leaves out what is more."""

MAX_STREAMS = 4096
"""Streams that the receiving end of a link knows; where another one opens, the ones idle for longest go."""

MAX_PEERS = 2 * MAX_STREAMS
"""Connections that the receiving end of a link knows; beyond that those without a stream go."""

MAX_TOPICS = 4096
"""Topics of a feed that are watched at once; further subscriptions are passed over."""

MAX_PROCESSES = 4096
"""Processes whose last report the store keeps; beyond that the one that reported longest ago goes."""

MAX_TEXT = 1024
"""Characters of one text (a name, a reason, a host); longer ones are cut by the sender."""

MAX_POSITIONS = 1 << 16
"""Cameras in one checkpoint."""

MAX_IDENTITIES = 1 << 20
"""Identities in one checkpoint."""

MAX_EVENTS = 1 << 16
"""Operator's decisions in one checkpoint."""

MAX_EVENT_TRACKS = 1 << 20
"""Tracks that all decisions of one message concern."""

MAX_HEADER_BYTES = 2 << 20
"""Unpacked, a msgpack header takes up to 64 times its length, so whatever can be long is in an array."""

PART_BYTES = 4 << 20
"""A longer blob is sent in several parts: a part that takes longer than ZeroMQ's heartbeat (5 s) to arrive
would close the connection, so this allows for links of 7 Mbit/s."""

MAX_MESSAGE_BYTES = 64 << 20
"""One message, its parts together.  ZeroMQ closes the connection on which a larger part comes."""

MAX_CHECKPOINT_BYTES = 900 << 20
"""A checkpoint, its parts together; SQLite takes no value above 1e9 bytes."""
