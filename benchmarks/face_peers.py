"""What a face detector of the YuNet family finds in annotated pictures, as a COCO results file.

The user brings the network as an ONNX file. Its boxes then stand in the same table as the zoo's:
facemask-zoo eval --data val.json --face-results yunet@0.6=yunet.json

Usage: python -m facemask_zoo.benchmarks.face_peers --network yunet.onnx --data val.json
           --output yunet.json [--engine onnxruntime] [--enlarge 1.75]
           [--negatives DIR --negatives-last 100 --negatives-output yunet.negatives.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from facemask_zoo.datasets import Dataset, check, read, read_negatives
from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError, WeightsError
from facemask_zoo.evaluation.negatives import last_by_name
from facemask_zoo.evaluation.results_file import write_results
from facemask_zoo.evaluation.samples import ANY, Sample
from facemask_zoo.extras import require
from facemask_zoo.files import check_target
from facemask_zoo.images import load_image
from facemask_zoo.ssd.boxes import nms
from facemask_zoo.ssd.postprocess import IOU

log = logging.getLogger(__name__)

STRIDES = (8, 16, 32)
_MULTIPLE = 32
_MOST = 5000
_LOG_EVERY = 100

Pixels = NDArray[np.uint8]
Found = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(N, 4) corners in pixels, and (N,) scores, best first."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a network is run.

    Attributes:
        conf: Faces that score more are kept.
        iou: A box that overlaps a better one by more than this is dropped.
        threads: CPU threads.
    """

    conf: float = 0.01
    iou: float = IOU
    threads: int = 2


class OnnxYuNet:
    """YuNet on onnxruntime, decoded here.

    Args:
        path: ONNX file that takes (1, 3, H, W) BGR of 0..255, sides in multiples of 32, and gives
            ``cls_S``, ``obj_S`` and ``bbox_S`` for the strides S.
        options: How to run it.

    Raises:
        WeightsError: The file is no such network.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._options = options
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise WeightsError(f"{path} cannot be run: {error}") from error
        self._names = [f"{part}_{s}" for s in STRIDES for part in ("cls", "obj", "bbox")]
        missing = set(self._names) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise WeightsError(f"{path}: expected the outputs {', '.join(sorted(missing))}.")

    def forward(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The network alone."""
        name = self._session.get_inputs()[0].name
        outputs = self._session.run(self._names, {name: batch})
        return dict(zip(self._names, outputs, strict=True))

    def detect(self, pixels: Pixels) -> Found:
        """Find the faces in (H, W, 3) RGB."""
        height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in pixels.shape[:2])
        padded = np.zeros((1, 3, height, width), np.float32)
        padded[0, :, : pixels.shape[0], : pixels.shape[1]] = pixels[:, :, ::-1].transpose(2, 0, 1)
        boxes, scores = decode(self.forward(padded), width)
        chosen = np.flatnonzero(scores > self._options.conf)
        kept = chosen[nms(boxes[chosen], scores[chosen], self._options.iou)]
        return boxes[kept], scores[kept]


class OpenCvYuNet:
    """YuNet as OpenCV runs and decodes it (``cv2.FaceDetectorYN``).

    Args:
        path: ONNX file that OpenCV reads.
        options: How to run it.

    Raises:
        WeightsError: OpenCV cannot read the file.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._cv2 = require("cv2", "opencv")
        self._cv2.setNumThreads(options.threads)
        try:
            self._detector = self._cv2.FaceDetectorYN.create(
                str(path), "", (320, 320), options.conf, options.iou, _MOST
            )
        except self._cv2.error as error:
            raise WeightsError(f"{path} cannot be run: {error}") from error

    def detect(self, pixels: Pixels) -> Found:
        """Find the faces in (H, W, 3) RGB."""
        self._detector.setInputSize((pixels.shape[1], pixels.shape[0]))
        try:
            _, rows = self._detector.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        except self._cv2.error as error:
            raise WeightsError(f"The network cannot be run on {pixels.shape}: {error}") from error
        found = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        found = found[np.argsort(-found[:, 14], kind="stable")]
        return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1), found[:, 14]


ENGINES: Mapping[str, Callable[[Path, Options], OnnxYuNet | OpenCvYuNet]] = MappingProxyType(
    {"onnxruntime": OnnxYuNet, "opencv": OpenCvYuNet}
)


def decode(outputs: Mapping[str, NDArray[np.float32]], width: int) -> Found:
    """Boxes of all cells: a centre relative to the cell, a size relative to the stride.

    Args:
        outputs: ``cls_S``, ``obj_S`` (1, cells, 1) and ``bbox_S`` (1, cells, 4) of each stride.
        width: Of the network's input, in pixels.

    Returns:
        (N, 4) corners in pixels of the input, and (N,) scores, in the order of the cells.
    """
    boxes, scores = [], []
    for stride in STRIDES:
        values = np.asarray(outputs[f"bbox_{stride}"], np.float64).reshape(-1, 4)
        row, column = np.divmod(np.arange(len(values)), width // stride)
        centre = (np.stack([column, row], axis=1) + values[:, :2]) * stride
        half = np.exp(values[:, 2:]) * stride / 2
        boxes.append(np.concatenate([centre - half, centre + half], axis=1))
        product = np.clip(outputs[f"cls_{stride}"], 0, 1) * np.clip(outputs[f"obj_{stride}"], 0, 1)
        scores.append(np.sqrt(np.asarray(product, np.float64)).reshape(-1))
    return np.concatenate(boxes), np.concatenate(scores)


def find(detector: Any, dataset: Dataset, enlarge: float) -> list[Sample]:
    """Run a detector over pictures.

    Args:
        detector: One of ``ENGINES``.
        dataset: The pictures.
        enlarge: Pictures are enlarged so many times; boxes are in pixels of the original.

    Raises:
        ImageError: A picture cannot be read.
    """
    samples = []
    for number, picture in enumerate(dataset.pictures, 1):
        image = Image.fromarray(load_image(picture.path))
        width, height = (max(1, round(side * enlarge)) for side in picture.size)
        size = (width, height)
        resized = image if size == picture.size else image.resize(size, Image.Resampling.BILINEAR)
        boxes, scores = detector.detect(np.asarray(resized))
        scale = np.tile(np.array(size) / picture.size, 2)
        limits = np.tile(picture.size, 2)
        found = Detections(
            np.clip(boxes / scale, 0, limits).astype(np.float32),
            scores.astype(np.float32),
            np.zeros(len(scores), np.int64),
            (ANY,),
            picture.size,
        )
        samples.append(Sample(picture, found))
        if number % _LOG_EVERY == 0:
            log.info("%d of %d pictures", number, len(dataset))
    return samples


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the network over the pictures and write what it found."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if (args.negatives is None) != (args.negatives_output is None):
        raise InvalidArgumentError("--negatives and --negatives-output belong together.")
    if not 0 < args.enlarge < float("inf"):
        raise InvalidArgumentError(f"--enlarge: expected a factor above 0, got {args.enlarge}.")
    work = [(args.output, check(read(args.data, args.images)).require_faces())]
    if args.negatives:
        chosen = last_by_name(read_negatives(args.negatives), args.negatives_last)
        work.append((args.negatives_output, chosen))
    for path, _ in work:
        check_target(path, overwrite=args.overwrite)
    options = Options(args.conf, args.iou, args.threads)
    detector = ENGINES[args.engine](args.network, options)
    for path, dataset in work:
        samples = find(detector, dataset, args.enlarge)
        faces = dataclasses.replace(dataset, categories=((1, ANY),))
        write_results(path, samples, faces, overwrite=args.overwrite)
        log.info("Wrote %s", path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write what a face detector finds.")
    parser.add_argument("--network", type=Path, required=True, help="YuNet as an ONNX file")
    parser.add_argument("--engine", choices=tuple(ENGINES), default="onnxruntime")
    parser.add_argument("--data", required=True, help="annotated pictures")
    parser.add_argument("--images", help="folder of the pictures")
    parser.add_argument("--output", type=Path, required=True, help="the results file")
    parser.add_argument("--negatives", help="folder of pictures without faces")
    parser.add_argument("--negatives-last", type=int, help="only the last N of them by name")
    parser.add_argument("--negatives-output", type=Path, help="a results file for these")
    parser.add_argument("--enlarge", type=float, default=1.0, help="pictures first (%(default)s)")
    parser.add_argument("--conf", type=float, default=Options.conf, help="(%(default)s)")
    parser.add_argument("--iou", type=float, default=Options.iou, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=Options.threads)
    parser.add_argument("--overwrite", action="store_true", help="replace earlier files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
