"""Face-mask detection with one API on every framework."""

from pathlib import Path

# Three packages lie beside this one in a checkout; the links to them are missing where the system
# has no symbolic links, and then Python has to look there.
if not Path(__file__).with_name("converters").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

from facemask_zoo.addresses import fetch_image
from facemask_zoo.backends import list_frameworks
from facemask_zoo.cards import list_models
from facemask_zoo.classifier import Classifications, Classifier
from facemask_zoo.detections import Detections
from facemask_zoo.detector import Detector
from facemask_zoo.errors import (
    DeviceError,
    DownloadError,
    EngineError,
    FaceMaskZooError,
    FrameworkNotInstalledError,
    ImageError,
    InvalidArgumentError,
    OutputError,
    TruncatedVideoError,
    UnknownNameError,
    VideoError,
    WeightsError,
)
from facemask_zoo.landmarker import FaceLandmarks, Landmarker
from facemask_zoo.version import __version__

__all__ = [
    "Classifications",
    "Classifier",
    "Detections",
    "Detector",
    "DeviceError",
    "DownloadError",
    "EngineError",
    "FaceLandmarks",
    "FaceMaskZooError",
    "FrameworkNotInstalledError",
    "ImageError",
    "InvalidArgumentError",
    "Landmarker",
    "OutputError",
    "TruncatedVideoError",
    "UnknownNameError",
    "VideoError",
    "WeightsError",
    "__version__",
    "fetch_image",
    "list_frameworks",
    "list_models",
]
