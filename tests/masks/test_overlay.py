"""Ready masks over pictures, against a plain statement of the blend."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facemask_zoo import cli
from facemask_zoo.errors import DatasetError, InvalidArgumentError, UnknownNameError
from facemask_zoo.masks.overlay import blend, overlay


def plainly(image, mask, x, y):
    """Pixel by pixel, channel by channel."""
    result = image.copy()
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            i, j = row + y, column + x
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                alpha = mask[row, column, 3] / 255.0
                for channel in range(3):
                    value = alpha * mask[row, column, channel] + (1 - alpha) * image[i, j, channel]
                    result[i, j, channel] = int(value)
    return result


@pytest.mark.parametrize("offset", [(0, 0), (3, 2), (-4, -5), (20, 0), (0, 40), (-30, 1)])
def test_the_blend_is_bit_for_bit_the_plain_one(rng, offset):
    image = rng.integers(0, 256, (24, 31, 3), np.uint8)
    mask = rng.integers(0, 256, (20, 27, 4), np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(blend(image, mask, offset), plainly(image, mask, *offset))
    np.testing.assert_array_equal(image, before)


def test_fractions_are_cut_off():
    image, mask = np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 4), 201, np.uint8)
    mask[..., 3] = 128
    assert blend(image, mask)[0, 0, 0] == 150  # 150.698


def test_arrays_are_checked():
    image, mask = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(InvalidArgumentError, match="mask"):
        blend(image, mask[..., :3])
    with pytest.raises(InvalidArgumentError, match="image"):
        blend(image.astype(float), mask)


@pytest.fixture(params=["scripts", "README"])
def celeba(request, tmp_path, rng):
    """Two pictures with masks, one mask without picture, one of another size, one opaque."""
    folder = "img_celeba" if request.param == "scripts" else "celeba"
    (tmp_path / folder).mkdir()
    (tmp_path / "celeba_masks").mkdir()
    for name, side in (("000001", 20), ("000002", 20), ("000004", 20), ("000005", 20)):
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / f"{name}.jpg", quality=95)
    for name, side in (("000001", 20), ("000002", 20), ("000003", 20), ("000004", 22)):
        pixels = rng.integers(0, 256, (side, side, 4), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "celeba_masks" / f"{name}_mask.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "celeba_masks" / "000005_mask.png")
    return tmp_path


def read(path):
    return np.asarray(Image.open(path))


def as_jpeg(pixels, folder):
    Image.fromarray(pixels).save(folder / "expected.jpg", quality=95)
    return (folder / "expected.jpg").read_bytes()


def test_celeba_is_masked_and_the_rest_reported(celeba):
    outcomes = {each.mask.stem: each for each in overlay(celeba, dataset="celeba")}
    assert "no picture" in outcomes["000003_mask"].problem
    assert "22 x 22" in outcomes["000004_mask"].problem
    assert "transparency" in outcomes["000005_mask"].problem
    (originals,) = [place for place in (celeba / "img_celeba", celeba / "celeba") if place.is_dir()]
    for name in ("000001", "000002"):
        assert not outcomes[f"{name}_mask"].problem
        expected = plainly(
            read(originals / f"{name}.jpg"), read(celeba / f"celeba_masks/{name}_mask.png"), 0, 0
        )
        written = celeba / "masked_celeba" / f"{name}.jpg"
        assert written.read_bytes() == as_jpeg(expected, celeba)
    assert len(list((celeba / "masked_celeba").iterdir())) == 2


def test_casia_keeps_its_identities(tmp_path, rng):
    for identity, name in (("0000045", "001"), ("0000045", "002"), ("0000099", "001")):
        image = rng.integers(0, 256, (10, 10, 3), np.uint8)
        mask = rng.integers(0, 256, (10, 10, 4), np.uint8)
        for folder, suffix, pixels in (("casia", "jpg", image), ("casia_masks", "png", mask)):
            (tmp_path / folder / identity).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / identity / f"{name}.{suffix}")
    outcomes = list(overlay(tmp_path, tmp_path / "out", dataset="casia"))
    assert not any(each.problem for each in outcomes)
    for each in outcomes:
        identity, name = each.output.parent.name, each.output.stem
        expected = plainly(
            read(tmp_path / "casia" / identity / f"{name}.jpg"), read(each.mask), 0, 0
        )
        assert each.output.read_bytes() == as_jpeg(expected, tmp_path)
    assert len(outcomes) == 3


def test_what_is_there_is_left_and_counts_as_done(celeba):
    list(overlay(celeba, dataset="celeba"))
    first = celeba / "masked_celeba" / "000001.jpg"
    first.write_bytes(b"mine")
    again = {each.mask.stem: each for each in overlay(celeba, dataset="celeba")}
    assert again["000001_mask"].resumed
    assert first.read_bytes() == b"mine"
    list(overlay(celeba, dataset="celeba", overwrite=True))
    assert first.read_bytes() != b"mine"


def test_originals_are_never_written_to(celeba):
    originals = next(
        place for place in (celeba / "img_celeba", celeba / "celeba") if place.is_dir()
    )
    before = {path: path.read_bytes() for path in originals.iterdir()}
    outcomes = list(overlay(celeba, originals, dataset="celeba", overwrite=True))
    assert all(each.problem for each in outcomes)
    assert {path: path.read_bytes() for path in originals.iterdir()} == before


def test_missing_folders_and_names_are_said(tmp_path):
    with pytest.raises(DatasetError, match="img_celeba or celeba"):
        list(overlay(tmp_path, dataset="celeba"))
    with pytest.raises(UnknownNameError, match="casia"):
        list(overlay(tmp_path, dataset="casio"))


def test_the_command_reports_and_fails_where_a_mask_failed(celeba, capsys):
    words = ["mask", "overlay", str(celeba), "--dataset", "celeba", "--json"]
    assert cli.main(words) == 1
    assert len(capsys.readouterr().out.splitlines()) == 5
    for name in ("000003", "000004", "000005"):
        (celeba / "celeba_masks" / f"{name}_mask.png").unlink()
    assert cli.main(words) == 0
