"""Make ``masks.jpg``: every template, worn in four ways, on the portrait.

The landmarks in ``astronaut.pts`` were found by MediaPipe's face mesh.

Usage: python docs/pictures/make_masks.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from facemask_zoo.images import load_image
from facemask_zoo.masks import PtsLandmarker, Wearing, list_templates, put_on

FOLDER = Path(__file__).parent
FRAME = (130, 0, 320, 230)
TILE = (114, 138)


def main() -> None:
    """Save the picture."""
    portrait = FOLDER / "astronaut.jpg"
    image = load_image(portrait)
    (points,) = PtsLandmarker().find(image, path=portrait)
    rows = []
    for wearing in Wearing:
        masked = (
            put_on(image, points, template=name, wearing=wearing) for name in list_templates()
        )
        tiles = [Image.fromarray(each.image).crop(FRAME).resize(TILE) for each in masked]
        rows.append(np.hstack([np.asarray(tile) for tile in tiles]))
    Image.fromarray(np.vstack(rows)).save(FOLDER / "masks.jpg", quality=82)


if __name__ == "__main__":
    main()
