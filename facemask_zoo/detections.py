"""What was found in one picture."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemask_zoo import annotate as drawing
from facemask_zoo import blurring, exports
from facemask_zoo.arguments import check_number, label_tuple
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError
from facemask_zoo.images import load_image

if TYPE_CHECKING:
    from facemask_zoo.images import ImageSource


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Faces in one picture, best score first.

    A result never changes: its arrays are copies that cannot be written to. Two results are equal
    if they say the same, whatever time they took. They cannot be keys of a dict.

    Attributes:
        boxes: (N, 4) float32, xyxy pixels inside the picture.
        scores: (N,) float32, 0..1.
        class_ids: (N,) int64, indices into `classes`.
        classes: Labels that the model knows.
        image_size: Width and height of the picture, in pixels.
        source: Where the picture came from, if it was read from a file or stream.
        frame: Number of the frame within a video, from 0; None for a picture.
        time: When the frame is shown, in seconds from the start of the video; None for a picture.
        attributes: More about each face: arrays whose first axis is as long as `scores`.
        speed: Milliseconds that each stage took: ``"read"``, ``"preprocess"``, ``"inference"`` and
            ``"postprocess"``; for a batch, one picture's share of it.

    Raises:
        InvalidArgumentError: The arrays do not fit together.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    source: str | None = None
    frame: int | None = None
    time: float | None = None
    attributes: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    speed: Mapping[str, float] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._freeze("boxes", _constant("boxes", self.boxes, np.float32))
        self._freeze("scores", _constant("scores", self.scores, np.float32))
        self._freeze("class_ids", _constant("class_ids", self.class_ids, np.int64))
        self._freeze("classes", label_tuple("classes", self.classes))
        width, height = self.image_size
        self._freeze("image_size", (int(width), int(height)))
        attributes = {name: _constant(name, values) for name, values in self.attributes.items()}
        self._freeze("attributes", MappingProxyType(attributes))
        self._freeze("speed", MappingProxyType(dict(self.speed)))
        self._check()

    def _freeze(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check(self) -> None:
        count = self.scores.size
        expected = ((count, 4), (count,), (count,))
        found = (self.boxes.shape, self.scores.shape, self.class_ids.shape)
        if found != expected:
            raise InvalidArgumentError(
                f"boxes, scores, class_ids: expected shapes {expected}, but got {found}."
            )
        if count and not 0 <= self.class_ids.min() <= self.class_ids.max() < len(self.classes):
            raise InvalidArgumentError(
                f"class_ids: expected 0..{len(self.classes) - 1}, but got {self.class_ids}."
            )
        for name, values in self.attributes.items():
            if values.shape[:1] != (count,):
                raise InvalidArgumentError(
                    f"attributes[{name!r}]: expected shape ({count}, ...), but got {values.shape}."
                )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Detections:
        """A subset, by mask, slice or list of indices, like a NumPy array; attributes follow.

        A single number gives a result with that one face.
        """
        if isinstance(index, int | np.integer):
            index = [int(index)]
        elif isinstance(index, list) and not index:
            index = np.zeros(0, np.int64)
        return dataclasses.replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            class_ids=self.class_ids[index],
            attributes={name: values[index] for name, values in self.attributes.items()},
        )

    def __iter__(self) -> Iterator[Detections]:
        """The faces one by one, each as a result of its own."""
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return self._facts() == other._facts() and _same_arrays(self._arrays(), other._arrays())

    def _facts(self) -> tuple[object, ...]:
        return self.classes, self.image_size, self.source, self.frame, self.time

    def _arrays(self) -> dict[str, NDArray[Any]]:
        own: dict[str, NDArray[Any]] = {
            "boxes": self.boxes,
            "scores": self.scores,
            "class_ids": self.class_ids,
        }
        return {**{f"attribute {name}": v for name, v in self.attributes.items()}, **own}

    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values.update(attributes=dict(self.attributes), speed=dict(self.speed))
        return type(self), tuple(values.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> Detections:
        return copy.copy(self)

    @property
    def labels(self) -> list[str]:
        """Label of each face: ``"mask"``, ``"no_mask"`` or ``"incorrect"``."""
        return [self.classes[index] for index in self.class_ids]

    def where(
        self,
        *,
        label: str | Iterable[str] | None = None,
        min_score: float | None = None,
        min_size: float | None = None,
    ) -> Detections:
        """The faces that meet every condition given.

        Args:
            label: One label, or several of which any will do.
            min_score: Least score.
            min_size: Least length of a box's shorter side, in pixels.

        Raises:
            UnknownNameError: The model knows no such label.
            InvalidArgumentError: A number is not finite, or out of range.
        """
        keep = np.ones(len(self), dtype=bool)
        if label is not None:
            wanted = self._ids_of([label] if isinstance(label, str) else label)
            keep &= np.isin(self.class_ids, wanted)
        if min_score is not None:
            check_number("min_score", min_score, 0, 1)
            keep &= self.scores >= min_score
        if min_size is not None:
            check_number("min_size", min_size, 0)
            keep &= (self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1) >= min_size
        return self[keep]

    def _ids_of(self, labels: Iterable[str]) -> list[int]:
        names = list(labels)
        for name in names:
            if name not in self.classes:
                raise UnknownNameError.among("label", name, self.classes)
        return [self.classes.index(name) for name in names]

    def counts(self) -> dict[str, int]:
        """Number of faces of each label that the model knows."""
        numbers = np.bincount(self.class_ids, minlength=len(self.classes))
        return {name: int(number) for name, number in zip(self.classes, numbers, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the picture's size, and label, class id, score and box of each face."""
        return exports.to_dict(self)

    def to_json(self) -> str:
        """One line of JSON with the values of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_rows(self) -> list[list[float]]:
        """AIZOO's result rows: ``[class_id, conf, xmin, ymin, xmax, ymax]``, whole pixels."""
        return [
            [int(class_id), float(score), *(int(value) for value in box)]
            for class_id, score, box in zip(self.class_ids, self.scores, self.boxes, strict=True)
        ]

    def to_columns(self) -> dict[str, list[Any]]:
        """A table with a row per face, as one list per column; see :meth:`to_dataframe`."""
        return exports.to_columns(self)

    def to_dataframe(self, library: str = "pandas") -> Any:
        """A table with a row per face.

        Args:
            library: ``"pandas"`` or ``"polars"``.

        Returns:
            A DataFrame with the columns source, frame, time, label, class_id, score, xmin, ymin,
            xmax and ymax, and one for each attribute.

        Raises:
            UnknownNameError: Another library.
            FrameworkNotInstalledError: The library is not installed.
        """
        return exports.to_dataframe(self, library)

    def to_coco(
        self, image_id: int, category_ids: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """Entries of a COCO results file, as COCO evaluation reads them.

        Args:
            image_id: The picture's id in the annotations.
            category_ids: Category id of each label; by default the class id plus 1.

        Raises:
            UnknownNameError: `category_ids` lacks a label that was found.
        """
        return exports.to_coco(self, image_id, category_ids)

    def to_yolo(self, *, scores: bool = False) -> str:
        """A YOLO label file: ``class x y width height`` per line, as shares of the picture.

        Args:
            scores: Add the score at the end of each line.
        """
        return exports.to_yolo(self, scores=scores)

    def to_voc(self) -> str:
        """A Pascal VOC XML file as labelImg writes it: whole pixels, counted from 0."""
        return exports.to_voc(self)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with the labels as ``data["class_name"]``.

        An attribute ``track_id`` becomes its ``tracker_id``, the others its ``data``.

        Raises:
            FrameworkNotInstalledError: supervision is not installed.
        """
        return exports.to_supervision(self)

    def annotate(
        self,
        image: ImageSource | None = None,
        *,
        language: str = "en",
        panel: bool = True,
    ) -> NDArray[np.uint8]:
        """Draw boxes and labels on a copy of the picture.

        Args:
            image: The picture, in any form that :func:`facemask_zoo.images.load_image` takes; by
                default `source` is read once more.
            language: Of the labels: ``"en"``, ``"fr"`` or ``"zh"``.
            panel: Count the faces of each label in a corner.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: It does not have the size that was searched.
            UnknownNameError: No such language.
            FrameworkNotInstalledError: The language needs a font that is not installed.
        """
        return drawing.annotate(self.pixels(image), self, language=language, panel=panel)

    def blur(
        self, image: ImageSource | None = None, *, how: str = "pixelate", margin: float = 0.1
    ) -> NDArray[np.uint8]:
        """Make the faces unrecognisable on a copy of the picture.

        Whatever the way, too little is left of a face to bring it back by sharpening. Select
        first to spare some: ``result.where(label="no_mask").blur(image)``.

        Args:
            image: As for :meth:`annotate`.
            how: ``"pixelate"`` (few large squares), ``"gaussian"`` (few soft spots) or ``"box"``
                (black).
            margin: What to add on each side, as a share of the box.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: It does not have the size that was searched; or a bad margin.
            UnknownNameError: No such way.
        """
        return blurring.blur(self.pixels(image), self.boxes, how, margin)

    def crops(
        self, image: ImageSource | None = None, *, margin: float = 0.0
    ) -> list[NDArray[np.uint8]]:
        """Cut the faces out.

        Args:
            image: As for :meth:`annotate`.
            margin: What to add on each side, as a share of the box, as far as the picture goes.

        Returns:
            One (h, w, 3) uint8 RGB array per face, copied.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: It does not have the size that was searched; or a bad margin.
        """
        return blurring.crops(self.pixels(image), self.boxes, margin)

    def show(self, image: ImageSource | None = None) -> None:
        """Open the annotated picture in the system's viewer.

        Args:
            image: As for :meth:`annotate`.

        Raises:
            ImageError: The picture cannot be read.
            InvalidArgumentError: It does not have the size that was searched.
        """
        drawing.show(self.annotate(image))

    def pixels(self, image: ImageSource | None) -> NDArray[np.uint8]:
        """The picture that was searched."""
        if image is None and (self.source is None or self.frame is not None):
            raise InvalidArgumentError(
                "image: expected the picture that was searched, since it was not read from a file."
            )
        pixels = load_image(self.source if image is None else image)  # type: ignore[arg-type]
        size = (pixels.shape[1], pixels.shape[0])
        if size != self.image_size:
            raise InvalidArgumentError(
                f"image: expected the picture of {self.image_size} pixels, but got {size}."
            )
        return pixels

    def _repr_html_(self) -> str:
        """A table for notebooks, below the annotated picture where it was read from a file."""
        return exports.to_html(self, drawing.preview(self))


def _constant(name: str, values: ArrayLike, dtype: Any = None) -> NDArray[Any]:
    """A copy that cannot be written to."""
    try:
        array = np.array(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(f"{name}: expected an array of numbers: {error}.") from error
    array.setflags(write=False)
    return array


def _same_arrays(left: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[Any]]) -> bool:
    return left.keys() == right.keys() and all(
        np.array_equal(values, right[name]) for name, values in left.items()
    )
