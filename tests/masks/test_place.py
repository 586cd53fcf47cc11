"""What is asked of a mask on a face: what it covers, what it leaves alone, how it is lit."""

from __future__ import annotations

import needs
import numpy as np
import pytest
from places import PICTURES

from facemask_zoo.datasets.landmarks import check_points, face_box, pose_of
from facemask_zoo.errors import ImageError, InvalidArgumentError, UnknownNameError
from facemask_zoo.images import load_image
from facemask_zoo.masks import Masked, PtsLandmarker, Wearing, list_templates, put_on
from facemask_zoo.masks.light import measure

NOSE, MOUTH, CHIN = (150, 150), (150, 185), (150, 230)
COVERED = {
    Wearing.CORRECT: (True, True, True),
    Wearing.CHIN_BARE: (True, True, False),
    Wearing.NOSE_BARE: (False, True, True),
    Wearing.NOSE_AND_MOUTH_BARE: (False, False, True),
}


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """The landmarks after a rotation about the centre of the picture."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (points - 150) @ matrix + 150


@pytest.mark.parametrize("template", [name for name in list_templates() if name != "window"])
@pytest.mark.parametrize("wearing", Wearing)
def test_every_wearing_covers_what_it_says(head, points, template, wearing):
    result = put_on(head, points, template=template, wearing=wearing)
    found = tuple(bool(result.alpha[y, x] > 0.9) for x, y in (NOSE, MOUTH, CHIN))
    assert found == COVERED[wearing]
    assert result.label == ("mask" if wearing is Wearing.CORRECT else "incorrect")
    for x, y in ((150, 80), (110, 95), (190, 95)):
        assert result.alpha[y, x] == 0


def test_nothing_else_is_touched(head, points):
    before = head.copy()
    result = put_on(head, points)
    np.testing.assert_array_equal(head, before)
    np.testing.assert_array_equal(result.image[:60], head[:60])
    np.testing.assert_array_equal(result.image[:, :20], head[:, :20])
    assert (result.image != head).any()


def test_the_same_seed_gives_the_same_picture(head, points):
    first, again, other = (put_on(head, points, seed=seed).image for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("degrees", [-60, -25, 25, 60, 180])
def test_the_mask_turns_with_the_head(head, points, degrees):
    moved = turned(points, degrees)
    result = put_on(head, moved, template="surgical-blue")
    for place in (moved[30], moved[[51, 57]].mean(axis=0), moved[8] * 0.9 + moved[57] * 0.1):
        x, y = np.round(place).astype(int)
        assert result.alpha[y, x] > 0.9
    assert result.alpha[tuple(np.round(moved[27]).astype(int)[::-1])] == 0


@pytest.mark.parametrize("side", [-1, 1])
def test_a_hidden_cheek_stays_hidden(head, points, side):
    """The far half of the face collapses to the line of the nose, as in profile."""
    far = (points[:, 0] - 150) * side > 0
    profile = points.copy()
    profile[far, 0] = 150 + (profile[far, 0] - 150) * 0.05
    result = put_on(head, profile)
    beyond = result.alpha[:, 175:] if side > 0 else result.alpha[:, :125]
    assert beyond.max() < 0.05
    assert result.alpha[190, 150 - side * 30] > 0.9


def test_mesh_points_behind_the_face_are_not_drawn(head, points):
    """MediaPipe says where hidden points are in space: behind the nose."""
    folded = points.copy()
    right = points[:, 0] > 155
    folded[right, 0] = 150 - (points[right, 0] - 150) * 0.3
    result = put_on(head, folded)
    assert result.alpha[:, 180:].max() < 0.05
    assert result.alpha[190, 110] > 0.9


def test_dark_pictures_get_dark_masks(head, points):
    dark = (head * 0.3).astype(np.uint8)
    bright, dim = (put_on(image, points, template="surgical-white") for image in (head, dark))
    inside = bright.alpha > 0.99
    assert dim.image[inside].mean() < 0.75 * bright.image[inside].mean()


def test_light_from_one_side_falls_on_the_mask_too(head, points):
    slope = np.linspace(0.4, 1.0, 300)[None, :, None]
    result = put_on((head * slope).astype(np.uint8), points, template="surgical-white")
    assert result.image[190, 110].mean() < 0.85 * result.image[190, 190].mean()


def test_warm_light_warms_the_mask(head, points):
    warm = (head * np.array([1.0, 0.8, 0.5])).astype(np.uint8)
    red, _, blue = put_on(warm, points, template="surgical-white").image[190, 140].astype(int)
    cold_red, _, cold_blue = (
        put_on(head, points, template="surgical-white").image[190, 140].astype(int)
    )
    assert red / blue > 1.1 * cold_red / cold_blue


def test_blurred_pictures_get_blurred_masks(head, points):
    import cv2

    def sharpness(image):
        result = put_on(image, points, template="surgical-black")
        return np.abs(np.diff(result.alpha, axis=0)).max()

    assert sharpness(cv2.GaussianBlur(head, (0, 0), 4)) < 0.7 * sharpness(head)


def test_grainy_pictures_get_grainy_masks(head, points):
    rough = np.random.default_rng(3).normal(0, 12, head.shape[:2])[..., None] + head
    grainy = put_on(np.clip(rough, 0, 255).astype(np.uint8), points, template="cloth-grey").image
    plain = put_on(head, points, template="cloth-grey").image
    place = np.s_[180:190, 120:130]
    assert grainy[place].std() > 2 * plain[place].std()


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.35])
@pytest.mark.parametrize("sigma", [0.0, 4.0, 8.0])
def test_the_features_of_a_small_face_are_not_taken_for_grain(scale, sigma):
    cv2 = needs.module("cv2")
    path = PICTURES / "astronaut.jpg"
    portrait = load_image(path)
    (points,) = PtsLandmarker().find(portrait, path=path)
    size = (round(512 * scale), round(512 * scale))
    small = cv2.resize(portrait, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    noise = np.random.default_rng(0).normal(0, sigma, small.shape[:2])[..., None]
    noisy = np.clip(np.round(small + noise), 0, 255).astype(np.uint8)
    assert measure(noisy, points * scale, 94 * scale).grain == pytest.approx(sigma, abs=2.7)


def test_what_the_matte_covers_stays_in_front(head, points):
    matte = np.zeros((300, 300), bool)
    matte[170:200, 100:130] = True
    result = put_on(head, points, matte=matte)
    assert result.alpha[185, 115] < 0.05
    assert result.alpha[185, 170] > 0.9
    as_bytes = put_on(head, points, matte=matte.astype(np.uint8) * 255)
    np.testing.assert_array_equal(result.image, as_bytes.image)


@pytest.mark.parametrize("shift", [(-120, 0), (120, 0), (0, 130), (0, -150), (-130, 120)])
def test_faces_at_the_edge_get_what_fits(head, points, shift):
    result = put_on(head, points + shift)
    assert result.image.shape == head.shape
    x1, y1, x2, y2 = result.box
    assert 0 <= x1 <= x2 <= 300
    assert 0 <= y1 <= y2 <= 300


BAD = {
    "too few": np.zeros((67, 2)),
    "three dimensions": np.ones((68, 3)),
    "all in one place": np.full((68, 2), 20.0),
    "a line": np.stack([np.arange(68.0), np.full(68, 5.0)], axis=1),
    "not a number": np.full((68, 2), np.nan),
    "far away": np.arange(136.0).reshape(68, 2) * 1e6,
    "words": "landmarks",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_landmarks_are_checked(head, bad):
    with pytest.raises(InvalidArgumentError, match="landmarks"):
        put_on(head, bad)


def test_what_cannot_be_done_is_said(head, points):
    with pytest.raises(InvalidArgumentError, match="pixels wide"):
        put_on(head, points * 0.05)
    with pytest.raises(InvalidArgumentError, match="outside"):
        put_on(head, points + 5000)
    with pytest.raises(InvalidArgumentError, match="matte"):
        put_on(head, points, matte=np.zeros((2, 2)))
    with pytest.raises(UnknownNameError, match="nose-bare"):
        put_on(head, points, wearing="nose-bear")
    with pytest.raises(ImageError, match="uint8"):
        put_on(head.astype(np.float32), points)


def test_pose_and_box(points):
    pose = pose_of(check_points(points))
    assert abs(pose.roll) < 0.01
    assert abs(pose.side) < 0.01
    assert pose_of(turned(points, 30)).roll == pytest.approx(np.deg2rad(30), abs=0.01)
    x1, y1, x2, y2 = face_box(points, (300, 300))
    assert y1 < points[:, 1].min()
    assert (x1, x2, y2) == pytest.approx((points[:, 0].min(), points[:, 0].max(), 240))


def test_a_result_says_what_was_done(head, points):
    result = put_on(head, points, template="bandana", wearing="chin-bare")
    assert isinstance(result, Masked)
    assert (result.template, result.wearing) == ("bandana", Wearing.CHIN_BARE)
    np.testing.assert_array_equal(result.landmarks, points)
