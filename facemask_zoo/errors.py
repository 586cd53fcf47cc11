"""Every exception this package raises on purpose; all derive from :class:`FaceMaskZooError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class FaceMaskZooError(Exception):
    """Base class of all exceptions of this package."""


class InvalidArgumentError(FaceMaskZooError, ValueError):
    """An argument is outside what the function accepts."""


class ImageError(FaceMaskZooError):
    """A picture cannot be read: missing, damaged, too large or of an unknown kind."""


class DatasetError(FaceMaskZooError):
    """A data set cannot be read, or nothing in it can be used."""


class VideoError(FaceMaskZooError):
    """A video or camera cannot be opened, read or written."""


class TruncatedVideoError(VideoError):
    """A video breaks off: it is damaged from some place on, or shorter than its header says."""


class UnknownNameError(FaceMaskZooError, LookupError):
    """No model, framework or format has the given name."""

    @classmethod
    def among(cls, kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
        """Build the error for `name`, naming the closest of the `known` names.

        Args:
            kind: What was looked up, for example ``"model"``.
            name: What the caller asked for.
            known: Every name that would have been accepted.
        """
        choices = list(known)
        close = difflib.get_close_matches(str(name), choices, n=2, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        return cls(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(choices)}.")


class FrameworkNotInstalledError(FaceMaskZooError, ImportError):
    """A framework (or another optional dependency) is not installed or does not import."""


class DeviceError(FaceMaskZooError):
    """The device, precision or thread count asked for is not available."""


class WeightsError(FaceMaskZooError):
    """A weights file is damaged, altered, incomplete, or of an unknown format."""

    def name_file(self, path: object) -> None:
        """Put the file in front of the message, unless that names it."""
        if str(path) not in str(self):
            self.args = (f"{path}: {self}",)


class ConversionError(WeightsError):
    """A written file does not do what its source does, and was not kept.

    Attributes:
        report: What was compared, a :class:`facemask_zoo.converters.conversion.Report`.
    """

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report


class UnreadableFileError(WeightsError):
    """A file is there, but the operating system does not let this process read it."""


class OutputError(FaceMaskZooError):
    """A file or folder is in the way that is not to be replaced, or the output is a source."""


class AddressError(FaceMaskZooError):
    """A web address is wrong, private, or does not take what is sent there."""


class UnreachableError(AddressError):
    """Nobody answers at an address, or not in time; it may be worth another try.

    Attributes:
        retry_after: Seconds that whoever answered asks to be left alone for; 0 if they do not say.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineError(FaceMaskZooError):
    """Workers cannot be had or died, or the cluster that they run on cannot be reached."""


class DownloadError(FaceMaskZooError):
    """A file is not at hand and could not be fetched."""


class UnsupportedOperationError(WeightsError):
    """A format (or the zoo itself) has no such operation.

    Attributes:
        format: Name of the format.
        operation: What it lacks.
    """

    def __init__(self, format_name: str, operation: str, where: str = "") -> None:
        place = f" ({where})" if where else ""
        super().__init__(f"The format {format_name!r} cannot carry {operation}{place}.")
        self.format = format_name
        self.operation = operation
