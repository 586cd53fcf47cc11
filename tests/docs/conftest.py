"""A folder as the examples of the documentation take it to be."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import needs
import pytest
from places import PICTURES, ROOT
from pyramids import seeded_pyramid

from facemask_zoo import Detector, model_files
from facemask_zoo.images import load_image, save_image
from facemask_zoo.store import open_weights

DEMO = PICTURES / "demo.jpg"
BOXES = {2: (62, 81, 121, 164), 1: (448, 84, 118, 167)}
"""Of the demonstration picture: category, and x, y, width and height."""
CATEGORIES = [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}]


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """Everything that a page names, made once."""
    for name in ("av", "torch", "tensorflow", "keras", "h5py", "cv2"):
        needs.package(name)
    folder = tmp_path_factory.mktemp("pages")
    for name in ("street.jpg", "album/one.jpg", "album/two.jpg", "crop1.jpg", "crop2.jpg"):
        _copy(DEMO, folder / name)
    for name in ("calibration/one.jpg", "calibration/two.jpg"):
        _copy(DEMO, folder / name)
    for name in ("astronaut.jpg", "astronaut.pts"):
        _copy(PICTURES / name, folder / "faces" / name)
    _write_video(folder / "gate.mp4")
    _write_labelled(folder)
    _write_overlays(folder / "DATA")
    _write_models(folder)
    return folder


@pytest.fixture
def user_folder(template, tmp_path, monkeypatch) -> Path:
    """A copy of it, with the checkout's pictures and scripts, as the working directory."""
    folder = tmp_path / "user"
    shutil.copytree(template, folder)
    (folder / "docs").symlink_to(ROOT / "docs")
    for script in ROOT.glob("*_infer.py"):
        (folder / script.name).symlink_to(script)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in list(os.environ):
        if name == "FACEMASK_ZOO_OFFLINE":
            monkeypatch.delenv(name)
    return folder


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _write_video(path: Path) -> None:
    from facemask_zoo.video_writer import VideoWriter

    with VideoWriter(path, Fraction(10)) as writer:
        for _ in range(20):
            writer.write(load_image(DEMO))


def _write_labelled(folder: Path) -> None:
    """The demonstration picture with its two faces, in the formats that pages name."""
    names = [f"{number}.jpg" for number in range(4)]
    image = load_image(DEMO)
    height, width = image.shape[:2]
    images = [
        {"id": index + 1, "file_name": name, "width": width, "height": height}
        for index, name in enumerate(names)
    ]
    annotations = [
        {
            "id": 10 * each["id"] + category,
            "image_id": each["id"],
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for each in images
        for category, box in BOXES.items()
    ]
    coco = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    for file, pictures in {
        "val.json": "val",
        "my.json": ".",
        "mine/annotations.json": "mine/pictures",
        "mine/test.json": "mine/test",
    }.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(json.dumps(coco))
        for name in names:
            _copy(DEMO, folder / pictures / name)
    found = [
        {"image_id": each["image_id"], "category_id": 1, "bbox": each["bbox"], "score": 0.9}
        for each in annotations
    ]
    (folder / "yunet.json").write_text(json.dumps(found))
    result = Detector.load("zoo-260", framework="onnx").detect(DEMO)
    _copy(DEMO, folder / "mine" / "voc" / "1.jpg")
    (folder / "mine" / "voc" / "1.xml").write_text(result.to_voc())
    _copy(DEMO, folder / "mine" / "images" / "train" / "1.jpg")
    labels = folder / "mine" / "labels" / "train" / "1.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text(result.to_yolo())
    (folder / "mine" / "data.yaml").write_text(
        "path: .\ntrain: images/train\nnames: {0: mask, 1: no_mask, 2: incorrect}\n"
    )


def _write_overlays(folder: Path) -> None:
    """One picture with its mask, in the folders of CelebA and of CASIA-WebFace."""
    from PIL import Image

    mask = Image.new("RGBA", (64, 64), (0, 80, 160, 200))
    picture = load_image(DEMO)[:64, :64]
    places = {
        "img_celeba/000001.jpg": "celeba_masks/000001_mask.png",
        "CASIA-WebFace/0000045/001.jpg": "CASIA-WebFace_masks/0000045/001.png",
    }
    for original, overlay in places.items():
        for name in (original, overlay):
            (folder / name).parent.mkdir(parents=True)
        save_image(picture, folder / original)
        mask.save(folder / overlay)


def _write_models(folder: Path) -> None:
    """The default model under the names of files that users may have, and a classifier."""
    model = open_weights("zoo-260").model()
    model_files.write(model, folder / "model.safetensors", "safetensors")
    model_files.write(model, folder / "model.keras", "keras")
    model_files.write(model, folder / "face_mask_detection.params", "mxnet")
    caffe = folder / "face_mask_detection.caffemodel"
    model_files.write(model, caffe, "caffe")
    pyramid = folder / "runs" / "zoo-m" / "weights.safetensors"
    pyramid.parent.mkdir(parents=True)
    model_files.write(seeded_pyramid(), pyramid, "safetensors")
    _write_classifier(folder / "my_mobilenet.h5")


def _write_classifier(path: Path) -> None:
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, activation="relu")]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, activation="softmax")]
    keras.Sequential(layers).save(path)
