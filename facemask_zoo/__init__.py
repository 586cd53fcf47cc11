"""Face-mask detection with one API on every framework."""

from facemask_zoo.backends import list_frameworks
from facemask_zoo.cards import list_models
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import (
    DeviceError,
    DownloadError,
    FaceMaskZooError,
    FrameworkNotInstalledError,
    ImageError,
    InvalidArgumentError,
    OutputError,
    UnknownNameError,
    VideoError,
    WeightsError,
)
from facemask_zoo.version import __version__

__all__ = [
    "Detections",
    "Detector",
    "DeviceError",
    "DownloadError",
    "FaceMaskZooError",
    "FrameworkNotInstalledError",
    "ImageError",
    "InvalidArgumentError",
    "OutputError",
    "UnknownNameError",
    "VideoError",
    "WeightsError",
    "__version__",
    "list_frameworks",
    "list_models",
]
