"""The warp from a template to a face: a thin-plate spline, drawn as a mesh of small triangles."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.extras import require

Places = NDArray[np.float64]

_STIFFNESS = 2e-3
_CELLS = 28
_BLOCK = 64  # triangles that are drawn at once: few calls, and little memory


@dataclasses.dataclass(frozen=True)
class ThinPlate:
    """A smooth map of the plane that takes one set of points close to another.

    Attributes:
        centres: (N, 2) points that it was fitted to, scaled to about 1.
        weights: (N + 3, 2) of the radial terms, the constant, x and y.
        scale: What places are divided by.
    """

    centres: Places
    weights: NDArray[np.float64]
    scale: float

    @classmethod
    def fit(cls, source: Places, target: Places) -> ThinPlate:
        """Fit the spline, slightly stiff, so that points that fell together do no harm.

        Args:
            source: (N, 2) places.
            target: (N, 2) where they go.

        Raises:
            InvalidArgumentError: The points do not determine a map.
        """
        scale = float(np.ptp(source, axis=0).max()) or 1.0
        centres = source / scale
        count = len(centres)
        system = np.zeros((count + 3, count + 3))
        system[:count, :count] = _radial(centres, centres) + _STIFFNESS * np.eye(count)
        system[:count, count:] = np.column_stack([np.ones(count), centres])
        system[count:, :count] = system[:count, count:].T
        try:
            weights = np.linalg.solve(system, np.concatenate([target, np.zeros((3, 2))]))
        except np.linalg.LinAlgError as error:
            raise InvalidArgumentError("The control points lie on a line.") from error
        return cls(centres, weights, scale)

    def __call__(self, places: Places) -> Places:
        """Where (M, 2) places go."""
        scaled = places / self.scale
        terms = np.column_stack([_radial(scaled, self.centres), np.ones(len(scaled)), scaled])
        return np.asarray(terms @ self.weights, np.float64)


def grid(width: float, height: float) -> Places:
    """((cells + 1)^2, 2) places spread evenly over a drawing, row by row."""
    x, y = np.meshgrid(np.linspace(0, width, _CELLS + 1), np.linspace(0, height, _CELLS + 1))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def draw_mesh(
    texture: NDArray[np.uint8], source: Places, target: Places, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Draw a texture whose grid was moved; parts that are seen from behind are left out.

    Args:
        texture: (H, W, 4) RGBA.
        source: Places of :func:`grid` in pixels of the texture.
        target: Where they go, in pixels of the result.
        size: Width and height of the result.

    Returns:
        (height, width, 4) float32, colours multiplied by alpha, 0..255 and 0..1.
    """
    cv2 = require("cv2", "masks")
    width, height = size
    lookup = np.full((height, width, 2), -1, np.float32)
    corners = _triangles(source, target, texture[..., 3])
    for start in range(0, len(corners), _BLOCK):
        block = corners[start : start + _BLOCK]
        _fill(lookup, source[block], target[block])
    layer = texture.astype(np.float32)
    layer[..., 3] /= 255
    layer[..., :3] *= layer[..., 3:]
    x, y = np.ascontiguousarray(lookup[..., 0]), np.ascontiguousarray(lookup[..., 1])
    return np.asarray(cv2.remap(layer, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))


def _radial(places: Places, centres: Places) -> NDArray[np.float64]:
    squares = ((places[:, None] - centres[None]) ** 2).sum(axis=2)
    return np.asarray(0.5 * squares * np.log(np.maximum(squares, 1e-12)))


def _triangles(source: Places, target: Places, alpha: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(T, 3) corners of the triangles that show something, and show it from the front."""
    cv2 = require("cv2", "masks")
    side = _CELLS + 1
    first = (np.arange(_CELLS)[:, None] * side + np.arange(_CELLS)).ravel()
    upper = np.stack([first, first + 1, first + side], axis=1)
    lower = np.stack([first + 1, first + side + 1, first + side], axis=1)
    corners = np.concatenate([upper, lower])
    a, b, c = (target[corners[:, index]] for index in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    kept = corners[area > 1e-3]
    most = np.array(alpha.shape[::-1])
    x1, y1 = np.minimum(np.floor(source[kept].min(axis=1)).astype(int), most).T
    x2, y2 = np.minimum(np.ceil(source[kept].max(axis=1)).astype(int) + 1, most).T
    sums = cv2.integral((alpha > 0).astype(np.uint8))
    shown = sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1] > 0
    return np.asarray(kept[shown], np.int64)


def _fill(lookup: NDArray[np.float32], source: Places, target: Places) -> None:
    """Write which place of the texture each pixel of some triangles shows; the last one wins.

    Args:
        lookup: (H, W, 2) places, written to.
        source: (T, 3, 2) corners in the texture.
        target: (T, 3, 2) corners in the result.
    """
    owner, column, row = _candidates(target, lookup.shape)
    a = target[:, 0]
    (bx, by), (cx, cy) = (target[:, 1] - a).T, (target[:, 2] - a).T
    area = bx * cy - by * cx
    x = (column - a[owner, 0]) / area[owner]
    y = (row - a[owner, 1]) / area[owner]
    u, v = cy[owner] * x - cx[owner] * y, bx[owner] * y - by[owner] * x
    inside = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6)
    owner, u, v = owner[inside], u[inside, None], v[inside, None]
    origin = source[:, 0]
    places = origin[owner] + u * (source[:, 1] - origin)[owner] + v * (source[:, 2] - origin)[owner]
    lookup[row[inside], column[inside]] = places


def _candidates(
    target: Places, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The pixels around each triangle: number of the triangle, column and row."""
    low = np.maximum(np.floor(target.min(axis=1)).astype(int), 0)
    high = np.minimum(np.ceil(target.max(axis=1)).astype(int) + 1, shape[1::-1])
    width, height = np.maximum(high - low, 0).T
    counts = width * height
    owner = np.repeat(np.arange(len(target)), counts)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, offset % width[owner] + low[owner, 0], offset // width[owner] + low[owner, 1]
