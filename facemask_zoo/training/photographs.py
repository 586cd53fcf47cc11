"""The pictures to train on, decoded once, with every fault listed before training starts."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard

import numpy as np

from facemask_zoo.datasets import Dataset, Picture, Problem, check, read, read_negatives
from facemask_zoo.errors import DatasetError, ImageError, InvalidArgumentError
from facemask_zoo.images import load_image
from facemask_zoo.training.augment import Boxes, Image, Labelled
from facemask_zoo.training.corrections import read_boxes, read_hard_negatives, replace_boxes
from facemask_zoo.training.synthetic import Drawn, read_drawn, share_of_weight

logger = logging.getLogger(__name__)

_DECODERS = 2


@dataclasses.dataclass(frozen=True)
class SourceRules:
    """What is known about how one collection was labelled.

    Attributes:
        box_weight: How far its boxes are to be trusted, 0..1.
        picture_weight: How often its pictures are drawn, relative to others.
        extend_top: Part of a box's height by which it is extended upwards.
        consensus: Whether boxes of ``DataConfig.consensus`` take the place of its own.
    """

    box_weight: float = 1.0
    picture_weight: float = 1.0
    extend_top: float = 0.0
    consensus: bool = False


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the training pictures are.

    Attributes:
        annotations: COCO, VOC, YOLO or CSV annotations, see :func:`facemask_zoo.datasets.read`.
        images: Folder of its pictures; empty for the usual one.
        format: One of ``facemask_zoo.datasets.FORMATS``, or ``"auto"``.
        labels: Label of each category name that has another name than usual.
        negatives: Folder of pictures without faces; empty for none.
        negative_weight: How often a negative is drawn, relative to a labelled picture.
        held_out_negatives: So many of them, the last by name, are left for measuring.
        hard_negatives: JSON list of boxes (`file_name`, `part`, and `bbox` as in COCO) that look
            like faces and are none; views around them are drawn. Empty for none.
        hard_negative_weight: How often a picture is drawn for its hard negatives, relative to a
            labelled picture.
        part: Only hard negatives and consensus boxes of this part are used.
        consensus: JSON object of better boxes: part, then the annotation's id, then `bbox` as in
            COCO. They replace those of the sources that say so. Empty for none.
        class_picture_weights: Pictures that show a class are drawn this much more often.
        synthetic: Share of the views, 0..1, that show pictures with drawn masks.
        masked: ``annotations.json`` of a set that ``facemask-zoo mask`` made from training
            pictures, see :func:`facemask_zoo.training.synthetic.read_drawn`; empty for none.
        sources: Rules by the pictures' ``source``.

    Raises:
        InvalidArgumentError: `synthetic` is out of range, or there is no `masked` to take it from.
    """

    annotations: str
    images: str = ""
    format: str = "auto"
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    negatives: str = ""
    negative_weight: float = 1.0
    held_out_negatives: int = 0
    hard_negatives: str = ""
    hard_negative_weight: float = 1.0
    part: str = "train"
    consensus: str = ""
    class_picture_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, SourceRules] = dataclasses.field(default_factory=dict)
    synthetic: float = 0.0
    masked: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.synthetic < 1:
            raise InvalidArgumentError(
                f"synthetic: expected at least 0 and less than 1, but got {self.synthetic}."
            )
        if self.synthetic and not self.masked:
            raise InvalidArgumentError("synthetic needs `masked`: annotations of drawn masks.")


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A decoded training picture.

    Attributes:
        image: (H, W, 3) RGB.
        faces: Its labels, boxes in pixels.
        weight: How often it is drawn, relative to the others.
        focus: (K, 4) boxes around which its views are drawn; None for views of all kinds.
    """

    image: Image
    faces: Labelled
    weight: float = 1.0
    focus: Boxes | None = None


def load_photographs(config: DataConfig, classes: Sequence[str]) -> list[Photograph]:
    """Read, check and decode everything to train on; what is wrong is logged with counts.

    Args:
        config: Where it is.
        classes: Labels of the network's classes. Faces with another label are ignored.

    Returns:
        The photographs, negatives last, behind them those with hard negatives again, and those
        with drawn masks.

    Raises:
        DatasetError: The annotations cannot be read, or no face of the classes is left; or the
            file of hard negatives or of consensus boxes is not what it should be.
    """
    labelled = _labelled_pictures(config).pictures
    pictures = [(picture, _weight(picture, config)) for picture in labelled]
    pictures += [(picture, config.negative_weight) for picture in _negatives(config)]
    hard = read_hard_negatives(config.hard_negatives, config.part) if config.hard_negatives else {}
    with ThreadPoolExecutor(_DECODERS) as pool:
        images = list(pool.map(_decode, [picture for picture, _ in pictures]))
    _report([image for image in images if isinstance(image, Problem)])
    result = [
        Photograph(image, label_faces(picture, classes, config), weight)
        for image, (picture, weight) in zip(images, pictures, strict=True)
        if _is_image(image)
    ]
    if all(photo.faces.ignored.all() for photo in result):
        raise DatasetError(f"{config.annotations}: no face of the classes {', '.join(classes)}.")
    names = [p.path.name for (p, _), i in zip(pictures, images, strict=True) if _is_image(i)]
    again = [
        dataclasses.replace(photo, weight=config.hard_negative_weight, focus=hard[name])
        for photo, name in zip(result, names, strict=True)
        if name in hard
    ]
    if hard:
        logger.info("Hard negatives in %d of %d pictures.", len(again), len(hard))
    result += again
    return result + _drawn_photographs(config, classes, labelled, result)


def _drawn_photographs(
    config: DataConfig,
    classes: Sequence[str],
    labelled: Sequence[Picture],
    others: Sequence[Photograph],
) -> list[Photograph]:
    """Pictures with drawn masks, which together have their share of the weight."""
    if not config.synthetic:
        return []
    found = read_drawn(config.masked, labelled)
    with ThreadPoolExecutor(_DECODERS) as pool:
        images = list(pool.map(_decode, [each.picture for each in found]))
    _report([image for image in images if isinstance(image, Problem)])
    sound = [(d, image) for d, image in zip(found, images, strict=True) if _is_image(image)]
    if not sound:
        raise DatasetError(f"{config.masked}: no picture can be read.")
    total = sum(photo.weight for photo in others)
    own = [_weight(each.picture, config) for each, _ in sound]
    weights = share_of_weight(own, total, config.synthetic)
    logger.info(
        "Drawn masks in %d pictures, %.0f %% of the views.", len(sound), 100 * config.synthetic
    )
    return [
        Photograph(image, _label_drawn(each, classes, config), weight)
        for (each, image), weight in zip(sound, weights, strict=True)
    ]


def _label_drawn(each: Drawn, classes: Sequence[str], config: DataConfig) -> Labelled:
    """As :func:`label_faces`; how a drawn mask is worn is certain."""
    faces = label_faces(each.picture, classes, config)
    return faces.replace(partial=faces.partial & ~each.drawn)


def fingerprint(photographs: Sequence[Photograph]) -> str:
    """SHA-256 over the labels, sizes and weights of photographs, in their order."""
    total = hashlib.sha256()
    for photo in photographs:
        total.update(f"{photo.image.shape}{photo.weight!r}{len(photo.faces)}".encode())
        for field in dataclasses.fields(photo.faces):
            total.update(np.ascontiguousarray(getattr(photo.faces, field.name)).tobytes())
        if photo.focus is not None:
            total.update(photo.focus.tobytes())
    return total.hexdigest()


def label_faces(picture: Picture, classes: Sequence[str], config: DataConfig) -> Labelled:
    """The faces of a picture as training sees them.

    Args:
        picture: The picture.
        classes: Labels of the network's classes.
        config: Gives the rules of the picture's source.
    """
    rules = config.sources.get(picture.source, SourceRules())
    boxes = picture.boxes
    boxes[:, 1] -= rules.extend_top * (boxes[:, 3] - boxes[:, 1])
    known = np.array([label in classes for label in picture.labels], np.bool_)
    ids = [classes.index(label) if label in classes else 0 for label in picture.labels]
    return Labelled(
        boxes=boxes,
        classes=np.array(ids, np.int64),
        ignored=picture.ignored | ~known,
        box_weights=np.full(len(boxes), rules.box_weight, np.float32),
        partial=np.full(len(boxes), not picture.three_class, np.bool_),
    )


def _is_image(image: Image | Problem) -> TypeGuard[Image]:
    return not isinstance(image, Problem)


def _negatives(config: DataConfig) -> Sequence[Picture]:
    if not config.negatives:
        return ()
    pictures = read_negatives(config.negatives).pictures
    return pictures[: max(0, len(pictures) - config.held_out_negatives)]


def _labelled_pictures(config: DataConfig) -> Dataset:
    dataset = read(
        config.annotations, config.images or None, kind=config.format, labels=config.labels
    )
    if config.consensus:
        chosen = {source for source, rules in config.sources.items() if rules.consensus}
        dataset = replace_boxes(dataset, read_boxes(config.consensus, config.part), chosen)
    # Decoding comes later, once: the pictures stay in memory.
    report = check(dataset, decode=False)
    logger.info("%s", report.to_text())
    return report.require_faces()


def _weight(picture: Picture, config: DataConfig) -> float:
    by_class = [config.class_picture_weights.get(label, 1.0) for label in picture.labels]
    rules = config.sources.get(picture.source, SourceRules())
    return rules.picture_weight * max(by_class, default=1.0)


def _decode(picture: Picture) -> Image | Problem:
    try:
        return load_image(picture.path)
    except ImageError as error:
        return Problem("corrupt picture", str(picture.path), str(error), "picture skipped")


def _report(problems: Sequence[Problem]) -> None:
    if problems:
        logger.warning("%d x corrupt picture (picture skipped)", len(problems))
    for problem in problems:
        logger.warning("  %s: %s", problem.place, problem.detail)
