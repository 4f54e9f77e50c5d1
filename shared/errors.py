"""Every error this project raises on purpose.

TrackingError                     something a user can understand and mend; its text says how    permanent
├── ConfigError                   a configuration file, variable or flag is wrong                permanent
├── SourceError                   a camera or file cannot be opened or read                      permanent
├── ModelError                    weights are missing, damaged or of a layout we do not know     permanent
├── DownloadError                 an address did not answer, or sent something else              may pass
├── StorageError                  the database, the data folder or its disk refused              may pass
│   └── FolderInUseError          another process writes the data folder                         may pass
├── LinkError                     an address cannot be bound or connected, or no answer came     may pass
│   └── StreamRefusedError        the other end of a link will not hear one of its streams       says itself
└── MessageError                  bytes that are not a message of ours (counted and dropped)     permanent

*Permanent* means that the same program on the same input fails again until a person changes something.
An error that *may pass* can be gone at the next try: a lock that another program holds, a full disk, a hub
that is being restarted.  The class only gives the default; whoever raises an error knows better and says so
with `permanent=`: a database of another program is a permanent StorageError, a connection that only a new
process can get rid of is a SourceError that may pass.  A service turns the one into an exit code that its
supervisor takes as final, and the other into one after which it is started again
(`tracking_system/commands/service.py`).
"""

from __future__ import annotations

from typing import ClassVar


class TrackingError(Exception):
    """Base of all: the command line prints its text as one line.

    permanent: whether trying again is of no use; by default what is usual for the class.
    """

    usually_permanent: ClassVar[bool] = True

    def __init__(self, *args: object, permanent: bool | None = None) -> None:
        super().__init__(*args)
        self.permanent = type(self).usually_permanent if permanent is None else permanent


class ConfigError(TrackingError):
    """A configuration file, environment variable or flag is wrong."""


class SourceError(TrackingError):
    """A camera or file cannot be opened or read."""


class ModelError(TrackingError):
    """Weights are missing, damaged or of an unknown layout."""


class DownloadError(TrackingError):
    """An address did not answer, or its content does not have the pinned hash."""

    usually_permanent = False


class StorageError(TrackingError):
    """The database, the data folder or the disk under it refused."""

    usually_permanent = False


class FolderInUseError(StorageError):
    """Another process writes the data folder."""


class LinkError(TrackingError):
    """An address cannot be bound or connected."""

    usually_permanent = False


class StreamRefusedError(LinkError):
    """The receiver will not hear this stream; the link's other streams go on."""

    def __init__(self, stream: int, text: str, *, permanent: bool) -> None:
        super().__init__(text, permanent=permanent)
        self.stream = stream


class MessageError(TrackingError):
    """Bytes that are not a message of this protocol."""
