"""``facemask-zoo data``: what its verbs print, write and return."""

from __future__ import annotations

import io
import json

import needs
import numpy as np
import pytest
from PIL import Image

from facemask_zoo import cli
from facemask_zoo.datasets import describe, read
from facemask_zoo.datasets.origins import ORIGINS
from facemask_zoo.datasets.reading import FORMATS
from facemask_zoo.datasets.sheet import draw_sheet
from facemask_zoo.datasets.statistics import plot
from facemask_zoo.errors import InvalidArgumentError, UnknownNameError

needs.package("imagehash")
needs.package("matplotlib")

LABELS = ("mask", "no_mask", "incorrect")


@pytest.fixture
def coco(tmp_path):
    """Twenty pictures that look different, in ten groups; each has a face per remainder of four."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(20):
        random = np.random.default_rng(number)
        pixels = Image.fromarray(random.integers(0, 255, (5, 6, 3), dtype=np.uint8))
        pixels.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"images/{number}.png")
        facts = {"width": 120, "height": 90, "group": f"g{number // 2}"}
        images.append({"id": number, "file_name": f"{number}.png", **facts})
        for place in range(number % 4):
            face = {
                "image_id": number,
                "category_id": place + 1,
                "bbox": [5 + 30 * place, 9, 20, 25],
            }
            annotations.append({"id": len(annotations), **face})
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def run(capsys, *words) -> tuple[int, str]:
    status = cli.main(["data", *map(str, words)])
    return status, capsys.readouterr().out


def test_info_counts(coco, tmp_path, capsys):
    status, out = run(capsys, "info", coco, "--json", "--plot", tmp_path / "plot.png")
    facts = json.loads(out)
    assert status == 0
    assert facts["pictures"] == 20
    assert facts["without_faces"] == 5
    assert facts["faces"] == {"mask": 15, "no_mask": 10, "incorrect": 5}
    assert facts["groups"] == 10
    assert facts["sides"]["16-32"] == 30
    with Image.open(tmp_path / "plot.png") as image:
        assert image.size[0] > image.size[1] > 100
    assert cli.main(["data", "info", str(coco), "--plot", str(tmp_path / "plot.png")]) == 1


def test_info_tells_licence_and_citation_of_every_set(capsys):
    _, out = run(capsys, "info")
    for origin in ORIGINS.values():
        assert origin.reader in FORMATS
        for text in (origin.title, origin.licence, origin.citation, origin.url):
            assert text in out
    _, out = run(capsys, "info", "--set", "mafa")
    assert out == ORIGINS["mafa"].to_text() + "\n"


def test_info_knows_masked_face_net_and_how_its_masks_are_worn(tmp_path, capsys):
    for name in ("CMFD/00000/00001_Mask.jpg", "IMFD/00000/00002_Mask_Chin.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    status, out = run(capsys, "info", tmp_path)
    assert status == 0
    assert "nose-and-mouth-bare (50.0%)" in out
    assert "CC BY-NC-SA 4.0" in out
    image = Image.open(io.BytesIO(plot(describe(read(tmp_path)), "set")))
    assert image.size[0] > 2.5 * image.size[1]


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc"])
def test_convert(coco, tmp_path, capsys, kind):
    status, _ = run(capsys, "convert", coco, tmp_path / "out", "--to", kind)
    assert status == 0
    assert describe(read(tmp_path / "out")).faces == describe(read(coco)).faces
    before = sorted(tmp_path.glob("out/**/*"))
    status, _ = run(capsys, "convert", coco, tmp_path / "out", "--to", kind)
    assert status == 1
    assert sorted(tmp_path.glob("out/**/*")) == before


def test_convert_reports_bad_items_and_goes_on(coco, tmp_path, capsys):
    content = json.loads(coco.read_text())
    content["annotations"][0]["bbox"] = [500, 500, 9, 9]
    content["annotations"][1]["bbox"] = ["x"]
    coco.write_text(json.dumps(content))
    (coco.parent / "images" / "19.png").unlink()
    status, out = run(capsys, "convert", coco, tmp_path / "out", "--json")
    kinds = sorted(problem["kind"] for problem in json.loads(out)["problems"])
    assert status == 1
    assert kinds == ["box outside the picture", "malformed box", "missing picture"]
    assert len(read(tmp_path / "out")) == 19


def test_split_keeps_groups_together(coco, tmp_path, capsys):
    words = ["split", coco, tmp_path / "out", "--parts", "train=0.6", "val=0.4", "--json"]
    status, out = run(capsys, *words)
    assert status == 0
    parts = {name: read(tmp_path / "out" / name) for name in ("train", "val")}
    groups = {name: {p.group for p in part.pictures} for name, part in parts.items()}
    assert not groups["train"] & groups["val"]
    assert {name: len(part) for name, part in parts.items()} == {"train": 12, "val": 8}
    assert json.loads(out)["val"]["pictures"] == 8


def test_split_keeps_near_duplicates_together(coco, tmp_path, capsys):
    images = coco.parent / "images"
    for number in range(1, 20):
        with Image.open(images / "0.png") as image:
            image.resize((120 - number, 90)).resize((120, 90)).save(images / f"{number}.png")
    words = ["split", coco, tmp_path / "out", "--parts", "a=0.5", "b=0.5", "--near-duplicates"]
    assert run(capsys, *words)[0] == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("parts", [["train"], ["train=x"], ["../up=0.5"], ["=1"]])
def test_parts_are_checked(coco, tmp_path, capsys, parts):
    assert run(capsys, "split", coco, tmp_path / "out", "--parts", *parts)[0] == 1
    assert not (tmp_path / "out").exists()


def test_view_draws_boxes(coco, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert run(capsys, "view", coco, sheet, "--count", 6, "--columns", 3, "--tile", 100)[0] == 0
    with Image.open(sheet) as image:
        assert image.size == (300, 200)
    assert run(capsys, "view", coco, sheet)[0] == 1
    assert run(capsys, "view", coco, tmp_path / "sheet.txt")[0] == 1


def test_sheets_of_faces_of_one_label(coco):
    dataset = read(coco)
    sheet, problems = draw_sheet(dataset, label="incorrect", faces=True, tile=64)
    assert sheet.shape == (64, 5 * 64, 3)
    assert problems == []
    yellow = (np.abs(sheet.astype(int) - (240, 228, 66)).max(-1) < 8).sum()
    assert yellow > 5 * 64
    with pytest.raises(UnknownNameError):
        draw_sheet(dataset, label="visor")
    with pytest.raises(InvalidArgumentError, match="nothing"):
        draw_sheet(dataset.first(1), label="mask")
    with pytest.raises(InvalidArgumentError, match="pixels"):
        draw_sheet(dataset, count=10**6, tile=1000)


def test_check_finds_copies_near_duplicates_and_strays(coco, tmp_path, capsys):
    assert run(capsys, "check", coco, "--near-duplicates")[0] == 0
    images = coco.parent / "images"
    (images / "3.png").write_bytes((images / "2.png").read_bytes())
    (images / "stray.png").write_bytes((images / "4.png").read_bytes())
    status, out = run(capsys, "check", coco, "--unlisted", images, "--json")
    assert status == 1
    kinds = [problem["kind"] for problem in json.loads(out)["problems"]]
    assert kinds == ["doubled picture", "unlisted picture"]


def test_check_compares_two_parts(coco, tmp_path, capsys):
    run(capsys, "split", coco, tmp_path / "out", "--parts", "train=0.5", "val=0.5")
    train, val = tmp_path / "out" / "train", tmp_path / "out" / "val"
    assert run(capsys, "check", train, "--against", val)[0] == 0
    first = next((val / "images").glob("*.png"))
    with Image.open(next((train / "images").glob("*.png"))) as image:
        image.save(first)
    status, out = run(capsys, "check", train, "--against", val, "--json")
    assert status == 1
    (problem,) = json.loads(out)["problems"]
    assert problem["kind"] == "near-duplicate"
    assert str(first) in problem["detail"]
