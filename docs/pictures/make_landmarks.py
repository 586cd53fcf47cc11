"""Make ``landmarks.jpg``: what the landmark network finds in the demonstration picture.

Above as it is, below with masks drawn on both faces; the points are found anew.

Usage: python docs/pictures/make_landmarks.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from facemask_zoo import Detector, Landmarker
from facemask_zoo.images import load_image
from facemask_zoo.masks import put_on

FOLDER = Path(__file__).parent
TEMPLATES = ("surgical-blue", "ffp2-white")


def main() -> None:
    """Save the picture."""
    bare = load_image(FOLDER / "demo.jpg")
    detector, landmarker = Detector.load(), Landmarker.load()
    masked = bare
    points = landmarker.detect(bare, detector.detect(bare)).points
    for face, template in zip(points, TEMPLATES, strict=False):
        masked = put_on(masked, face, template=template).image
    drawn = [
        landmarker.add_to(detector.detect(image), image).annotate(image, panel=False)
        for image in (bare, masked)
    ]
    Image.fromarray(np.vstack(drawn)).save(FOLDER / "landmarks.jpg", quality=85)


if __name__ == "__main__":
    main()
