"""Make ``demo.jpg``: the portrait as it is, and mirrored with a drawn mask.

Usage: python docs/pictures/make_demo.py
"""

from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

FOLDER = Path(__file__).parent
SCALE = 4  # the mask is drawn this much larger and then reduced, for smooth edges
FRAME = (70, 0, 390, 340)
# Corners in pixels of the portrait: nose, cheeks, jaw and chin.
OUTLINE = [
    (183, 122), (203, 114), (223, 110), (245, 114), (268, 122),
    (266, 148), (258, 166), (242, 178), (224, 183), (206, 178), (191, 166), (184, 148),
]  # fmt: skip
STRAPS = [((184, 124), (177, 116)), ((187, 158), (178, 134)), ((267, 124), (274, 116)),
          ((263, 158), (273, 134))]  # fmt: skip
PLEATS = [132, 145, 158]
CLOTH, SHADE, STRAP = (152, 196, 218), (118, 164, 190), (232, 236, 238)


def main() -> None:
    """Save the picture."""
    make_demo().save(FOLDER / "demo.jpg", quality=90)


def make_demo() -> Image.Image:
    """Draw the mask and join both halves."""
    portrait = Image.open(FOLDER / "astronaut.jpg").convert("RGB")
    masked = draw_mask(portrait)
    width, height = FRAME[2] - FRAME[0], FRAME[3] - FRAME[1]
    demo = Image.new("RGB", (2 * width, height))
    demo.paste(portrait.crop(FRAME), (0, 0))
    demo.paste(ImageOps.mirror(masked.crop(FRAME)), (width, 0))
    return demo


def draw_mask(portrait: Image.Image) -> Image.Image:
    """The portrait with a surgical mask; light and shadow of the face stay visible in the cloth."""
    size = (portrait.width * SCALE, portrait.height * SCALE)
    cloth = Image.new("RGB", size, CLOTH)
    alpha = Image.new("L", size, 0)
    draw_cloth, draw_alpha = ImageDraw.Draw(cloth), ImageDraw.Draw(alpha)
    draw_alpha.polygon(scaled(OUTLINE), fill=255)
    for y in PLEATS:
        draw_cloth.line(scaled([(180, y - 3), (224, y + 3), (270, y - 3)]), SHADE, 2 * SCALE)
    for strap in STRAPS:
        draw_alpha.line(scaled(strap), 255, SCALE)
        draw_cloth.line(scaled(strap), STRAP, 2 * SCALE)
    cloth, alpha = (
        layer.resize(portrait.size, Image.Resampling.LANCZOS) for layer in (cloth, alpha)
    )
    light = portrait.convert("L").filter(ImageFilter.GaussianBlur(7)).convert("RGB")
    shaded = ImageChops.multiply(cloth, light.point(lambda value: min(255, 90 + value)))
    return Image.composite(shaded, portrait, alpha)


def scaled(points: list[tuple[int, int]] | tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Points of the portrait on the enlarged canvas."""
    return [(x * SCALE, y * SCALE) for x, y in points]


if __name__ == "__main__":
    main()
