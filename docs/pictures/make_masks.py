"""Make ``masks.jpg``: every template, worn in four ways, on the portrait.

The landmarks in ``astronaut.pts`` were found by MediaPipe's face mesh.

Usage: python docs/pictures/make_masks.py
"""

from pathlib import Path

from facemask_zoo.images import load_image, save_image
from facemask_zoo.masks import PtsLandmarker, draw_sheet

FOLDER = Path(__file__).parent


def main() -> None:
    """Save the picture."""
    portrait = FOLDER / "astronaut.jpg"
    image = load_image(portrait)
    (points,) = PtsLandmarker().find(image, path=portrait)
    save_image(draw_sheet(image, points), FOLDER / "masks.jpg", overwrite=True, quality=82)


if __name__ == "__main__":
    main()
