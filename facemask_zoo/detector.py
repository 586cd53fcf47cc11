"""The detector: one interface over every model and framework."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.architectures.pyramid import InputSize
from facemask_zoo.arguments import check_count, check_number
from facemask_zoo.backends import Backend, Options
from facemask_zoo.cards import DEFAULT_MODEL, DETECTION, ModelCard
from facemask_zoo.detections import Detections
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError, WeightsError
from facemask_zoo.images import MAX_PIXELS, ImageSource, is_one_picture, load_image
from facemask_zoo.on_error import OnError, check_on_error, handled
from facemask_zoo.session import AUTO, open_session, place
from facemask_zoo.ssd import postprocess
from facemask_zoo.ssd.boxes import NMS_KINDS
from facemask_zoo.ssd.network import LOC_NAME, SCORES_NAME
from facemask_zoo.ssd.postprocess import CONF, IOU, Found
from facemask_zoo.store import Weights
from facemask_zoo.streaming import Limits, Stream
from facemask_zoo.tasks.letterbox import Region
from facemask_zoo.tiling import check_tiles, detect_tiled
from facemask_zoo.video import Frame, StreamSource

RawOutputs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Box offsets (N, A, 4) and scores (N, A, C)."""

_Named = tuple[NDArray[np.uint8], str | None]

BATCH_SIZE = 8
"""Pictures that :meth:`Detector.detect_batch` hands to the framework at once."""


STREAM_BUFFER = 4
"""Frames and results that wait between the stages of :meth:`Detector.stream`."""


@dataclasses.dataclass(frozen=True)
class Detector:
    """Finds masked and bare faces. Make one with :meth:`load`.

    Attributes:
        card: The model's card.
        framework: Name of the framework it runs on.
        backend: The network on that framework.
        conf: Only faces that score above this are reported.
        iou: A box that overlaps a better one by more than this is dropped.
        nms: How duplicates are suppressed, see :meth:`load`.
        max_pixels: Larger pictures are refused before they are decoded.
        tiles: Side of the smallest windows that pictures are searched in, see :meth:`load`.
        loading: Other arguments of :meth:`load`, with which a copy or another process loads it
            again.
    """

    card: ModelCard
    framework: str
    backend: Backend
    conf: float = CONF
    iou: float = IOU
    nms: str = "standard"
    max_pixels: int = MAX_PIXELS
    tiles: int | None = None
    loading: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_settings(self.conf, self.iou, self.nms, self.max_pixels)
        if self.tiles is not None:
            check_tiles(self.tiles, self.card.detector.graph.input_shape)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy what it takes to load the detector again, not the framework's state."""
        if not self.loading:
            raise InvalidArgumentError("Only what Detector.load returns can be copied or pickled.")
        settings = {"conf": self.conf, "iou": self.iou, "nms": self.nms}
        settings |= {"max_pixels": self.max_pixels, "tiles": self.tiles}
        return _load_again, (type(self), {**self.loading, **settings})

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        framework: str = AUTO,
        device: str = "cpu",
        precision: str = "fp32",
        trust: bool = False,
        threads: int | None = None,
        conf: float | None = None,
        iou: float = IOU,
        nms: str | None = None,
        max_pixels: int = MAX_PIXELS,
        input_size: InputSize | None = None,
        tiles: int | None = None,
    ) -> Detector:
        """Load a model on a framework.

        Args:
            model: A name of :func:`list_models`, or the path of a weights file in any format that
                the zoo reads; with ``@640`` or ``@480x640`` behind it for an `input_size`.
            framework: A name of :func:`list_frameworks`; ``"auto"`` takes the fastest of those
                installed that has the device and precision.
            device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            precision: ``"fp32"``, or ``"fp16"`` where the framework offers it. 8-bit integers need
                pictures for their ranges: have a file written by ``converters.conversion.convert``.
            trust: Run a file as it is, such as one of 8-bit integers. The framework's own parser
                sees it unchecked: only for files from a source that you trust.
            threads: CPU threads; None leaves it to the framework.
            conf: Score threshold, 0..1. None takes what the model's card recommends.
            iou: Overlap threshold of non-maximum suppression, 0..1.
            nms: ``"standard"`` for the true overlap; ``"blended"`` also averages every box with
                those that agree with it; ``"aizoo"`` for AIZOO's own arithmetic (1e-3 in the areas,
                truncated pixels). None takes what the model's card recommends.
            max_pixels: Largest width x height of a picture.
            input_size: Side of the network's input in pixels, or (height, width), for models whose
                weights serve any size. None takes what the model's card recommends.
            tiles: Search every picture and frame in overlapping windows too, the smallest of so
                many pixels a side, for faces that are small in a large picture. It takes as many
                times longer as there are windows. None searches pictures as a whole alone.

        Returns:
            A detector that is ready to run.

        Raises:
            UnknownNameError: No such model, framework or nms.
            FrameworkNotInstalledError: The framework is not installed or does not import.
            DeviceError: The framework lacks the device, precision or thread count here; or none
                of those installed has them.
            WeightsError: The weights are damaged or altered.
            DownloadError: The weights are not at hand and cannot be fetched.
            InvalidArgumentError: An argument is of the wrong type, a threshold is outside 0..1; or
                the model has one input size alone, or none in multiples of what is asked for; or
                `tiles` is less than half of the network's input.
        """
        # before anything is fetched:
        _check_settings(CONF if conf is None else conf, iou, nms, max_pixels)
        options = Options(device=device, precision=precision, threads=threads)
        session = open_session(
            model,
            framework=framework,
            options=options,
            trust=trust,
            input_size=input_size,
            check=_check_detector,
        )
        card = session.card
        threshold = card.conf if conf is None else conf
        suppression = card.nms if nms is None else nms
        backend = session.backend
        name = session.framework
        loading = {"model": place(model), "framework": name, "trust": trust, **vars(options)}
        loading["input_size"] = input_size
        return cls(card, name, backend, threshold, iou, suppression, max_pixels, tiles, loading)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that the model knows."""
        return self.card.detector.classes

    @property
    def input_size(self) -> InputSize:
        """Side of the network's square input, or its height and width, in pixels."""
        return self.card.detector.input_size

    def detect(self, image: ImageSource, *, tiles: int | None = None) -> Detections:
        """Find the faces in one picture.

        Args:
            image: Path, encoded bytes, file object, PIL image, or array; see
                :func:`facemask_zoo.images.load_image`.
            tiles: Side of the smallest windows, see :meth:`load`, for this picture. None takes the
                detector's own.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: `tiles` is less than half of the network's input.
        """
        detector = self if tiles is None else dataclasses.replace(self, tiles=tiles)
        return detector.detect_batch([image])[0]

    def detect_batch(
        self, images: Iterable[ImageSource], *, on_error: OnError = "raise"
    ) -> list[Detections]:
        """Find the faces in many pictures; the same answers as one by one.

        Args:
            images: Pictures in any form that :meth:`detect` takes.
            on_error: What to do about a picture that cannot be read: ``"raise"``, ``"skip"`` it,
                or a function that is called with the picture as it was given and the error, and
                after which it is skipped.

        Returns:
            One result per picture that could be read, in order.

        Raises:
            ImageError: One of the pictures cannot be read.
            InvalidArgumentError: `images` is one picture, whose rows would be taken for pictures.
            UnknownNameError: `on_error` is none of the above.
        """
        check_on_error(on_error)
        if is_one_picture(images):
            raise InvalidArgumentError(
                f"images: expected several pictures, but got one {type(images).__name__}: "
                "pass it to detect."
            )
        results: list[Detections] = []
        for chunk in _chunks(images, BATCH_SIZE):
            results.extend(self._detect_loaded(self._loaded(chunk, on_error), len(chunk)))
        return results

    def stream(
        self,
        source: StreamSource | Sequence[StreamSource],
        *,
        on_error: OnError = "raise",
        buffer: int = STREAM_BUFFER,
        reconnect: float | None = None,
    ) -> Stream:
        """Find the faces in pictures or frames, one after the other, in bounded memory.

        Reading, detecting and what is done with the results go on at the same time. Files wait
        until their frames are used. Cameras do not: of the frames that come meanwhile, the newest
        is detected, and the others are counted in ``dropped``.

        Args:
            source: Picture, video, folder or glob of pictures, camera index, or ``rtsp://``
                address; or several of them, which are read at the same time.
            on_error: What to do about a picture that cannot be read: ``"raise"``, ``"skip"`` it,
                or a function that is called with its name and the error, and after which it is
                skipped. A video ends where it cannot be read further.
            buffer: Frames of each file that may wait to be detected, and results that may wait to
                be used.
            reconnect: Seconds after which a camera or network stream that ended or cannot be read
                is opened again, over and over; numbers and times of its frames go on. None lets
                it end.

        Returns:
            An iterator over one result per picture or frame, with `source` (and `frame`) set, in
            the order of each source. It is read when its first result is asked for, and stops
            when it is closed or no longer used.

        Raises:
            ImageError: A picture cannot be read.
            VideoError: A video or camera cannot be read.
            UnknownNameError: `on_error` is none of the above.
            InvalidArgumentError: There is no source, or a number is out of range.
        """
        check_on_error(on_error)
        check_count("buffer", buffer)
        if reconnect is not None:
            check_number("reconnect", reconnect, 0)
        several = isinstance(source, list | tuple)
        sources = list(cast("Sequence[StreamSource]", source if several else [source]))
        if not sources:
            raise InvalidArgumentError("source: expected at least one.")
        batch = 1 if self.backend.options.device_index is None else BATCH_SIZE
        limits = Limits(buffer, batch, reconnect)
        return Stream(self._detect_frames, sources, self.max_pixels, on_error, limits)

    def detect_frame(self, frame: Frame) -> Detections:
        """Find the faces in one frame of :func:`facemask_zoo.video.frames`.

        Args:
            frame: The picture and where it came from.
        """
        (result,) = self._detect_frames([frame])
        return result

    def _detect_frames(self, frames: Sequence[Frame]) -> list[Detections]:
        pictures = [(frame.image, frame.source) for frame in frames]
        results = self._detect_loaded(pictures, len(frames))
        return [
            dataclasses.replace(result, frame=frame.index, time=frame.time)
            for result, frame in zip(results, frames, strict=True)
        ]

    def forward(self, batch: NDArray[np.float32]) -> RawOutputs:
        """Run the network alone.

        Args:
            batch: (N, 3, H, W) float32, RGB, 0..1.

        Returns:
            Raw box offsets (N, A, 4) and scores (N, A, C), float32.

        Raises:
            InvalidArgumentError: The batch has another shape or type.
        """
        expected = self.card.detector.graph.input_shape
        if not isinstance(batch, np.ndarray) or batch.shape[1:] != expected:
            raise InvalidArgumentError(
                f"batch: expected shape (N, {', '.join(map(str, expected))}), "
                f"but got {getattr(batch, 'shape', type(batch).__name__)}."
            )
        if batch.dtype != np.float32:
            raise InvalidArgumentError(f"batch: expected float32, but got {batch.dtype}.")
        return self._outputs(batch)

    def _outputs(self, batch: NDArray[np.float32]) -> RawOutputs:
        outputs = self.backend.forward(batch)
        return outputs[LOC_NAME], outputs[SCORES_NAME]

    def _loaded(self, images: Iterable[ImageSource], on_error: OnError) -> Iterator[_Named]:
        for image in images:
            picture: NDArray[np.uint8] | None = None
            with handled(image, on_error):
                picture = load_image(image, self.max_pixels)
            if picture is not None:
                yield picture, _source_name(image)

    def _detect_loaded(self, pictures: Iterable[_Named], most: int) -> list[Detections]:
        """Detect in at most so many pictures, of which one at a time is kept in memory."""
        if self.tiles is None:
            return self._detect_whole(pictures, most)
        return list(self._detect_in_windows(pictures, self.tiles))

    def _detect_in_windows(self, pictures: Iterable[_Named], tiles: int) -> Iterator[Detections]:
        watch = _Stopwatch()
        for picture, name in pictures:
            watch.lap("read")
            result = detect_tiled(self._detect_unnamed, picture, tiles, self.iou, BATCH_SIZE)
            speed = {**result.speed, **watch.shares(1)}
            yield dataclasses.replace(result, source=name, speed=speed)
            watch = _Stopwatch()

    def _detect_unnamed(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return self._detect_whole([(picture, None) for picture in pictures], len(pictures))

    def _detect_whole(self, pictures: Iterable[_Named], most: int) -> list[Detections]:
        watch = _Stopwatch()
        batch = self.backend.buffer(most)
        placed: list[tuple[tuple[int, int], Region, str | None]] = []
        for picture, name in pictures:
            watch.lap("read")
            region = self.card.preprocessing.place(picture, batch[len(placed)])
            placed.append(((picture.shape[1], picture.shape[0]), region, name))
            watch.lap("preprocess")
        if not placed:
            return []
        loc, scores = self._outputs(batch[: len(placed)])
        watch.lap("inference")
        found = [
            self._postprocess(loc[i], scores[i], size, region)
            for i, (size, region, _) in enumerate(placed)
        ]
        watch.lap("postprocess")
        speed = watch.shares(len(placed))
        return [
            Detections(*faces, self.classes, size, source, speed=speed)
            for faces, (size, _, source) in zip(found, placed, strict=True)
        ]

    def _postprocess(
        self,
        loc: NDArray[np.float32],
        scores: NDArray[np.float32],
        image_size: tuple[int, int],
        region: Region,
    ) -> Found:
        return postprocess(
            loc,
            scores,
            self.card.detector,
            image_size,
            conf=self.conf,
            iou=self.iou,
            kind=self.nms,
            region=region,
        )


class _Stopwatch:
    """Milliseconds that each stage takes, one after the other."""

    def __init__(self) -> None:
        self._laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """A stage has ended and the next begins; a stage may come back."""
        now = time.perf_counter()
        self._laps[stage] = self._laps.get(stage, 0.0) + (now - self._since) * 1000
        self._since = now

    def shares(self, count: int) -> dict[str, float]:
        """What falls to each of `count` pictures."""
        return {stage: milliseconds / count for stage, milliseconds in self._laps.items()}


def _load_again(kind: type[Detector], arguments: dict[str, Any]) -> Detector:
    return kind.load(**arguments)


def _chunks(images: Iterable[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    iterator = iter(images)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _source_name(image: ImageSource) -> str | None:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def _check_detector(weights: Weights) -> None:
    if weights.card.task != DETECTION:
        raise WeightsError(
            f"{weights.card.name!r} is no detector that the zoo can decode. Classifier.load runs "
            "networks that classify crops; convert takes any."
        )


def _check_settings(conf: float, iou: float, nms: str | None, max_pixels: int) -> None:
    check_number("conf", conf, 0, 1)
    check_number("iou", iou, 0, 1)
    check_count("max_pixels", max_pixels)
    if nms is not None and nms not in NMS_KINDS:
        raise UnknownNameError.among("nms", nms, NMS_KINDS)
