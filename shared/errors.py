"""Every error this project raises on purpose.

TrackingError                     something a user can understand and mend; its text says how
├── ConfigError                   a configuration file, variable or flag is wrong (names key and line)
├── SourceError                   a camera or file cannot be opened or read
├── ModelError                    weights are missing, damaged or of a layout we do not know
├── DownloadError                 an address did not answer, or what came is not what was pinned
├── StorageError                  the database or its disk refused
├── LinkError                     an address cannot be bound or connected
│   └── StreamRefusedError        the other end of a link will not hear one of its streams
└── MessageError                  bytes that are not a message of ours (counted and dropped, never fatal)
"""


class TrackingError(Exception):
    """Base of all: the command line prints its text as one line and exits with 2."""


class ConfigError(TrackingError):
    """A configuration file, environment variable or flag is wrong."""


class SourceError(TrackingError):
    """A camera or file cannot be opened or read."""


class ModelError(TrackingError):
    """Weights are missing, damaged or of an unknown layout."""


class DownloadError(TrackingError):
    """An address did not answer, or its content does not have the pinned hash."""


class StorageError(TrackingError):
    """The database or the disk under it refused."""


class LinkError(TrackingError):
    """An address cannot be bound or connected."""


class StreamRefusedError(LinkError):
    """The receiver will not hear this stream; the link's other streams go on."""

    def __init__(self, stream: int, text: str) -> None:
        super().__init__(text)
        self.stream = stream


class MessageError(TrackingError):
    """Bytes that are not a message of this protocol."""
