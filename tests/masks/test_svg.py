"""Templates from strangers: what reaches beyond the file is refused before it is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.masks.svg import parse_svg, render_svg

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {}>{}</svg>'
)
HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "a picture": '<image href="file:///etc/passwd" width="1" height="1"/>',
    "a picture by xlink": '<image xlink:href="secret.png"/>',
    "another file's gradient": '<rect fill="url(other.svg#a)" width="9" height="9"/>',
    "an address": '<rect style="fill: url(https://example.org/a.svg#b)"/>',
    "an address in quotes": "<rect style=\"fill: url('//example.org#b')\"/>",
    "an address behind a good one": '<rect style="fill:url(#a);mask:url(x.svg#b)"/>',
    "an escaped address": r'<rect style="fill:\75rl(x.svg#b)"/>',
    "a style sheet": "<style>@import 'x.css';</style>",
    "an event": '<rect onload="x()"/>',
    "a copy": '<g id="a"/><use href="#a"/>',
    "text": "<text>hello</text>",
    "HTML": "<foreignObject/>",
    "a filter": '<filter id="f"/>',
    "another language": '<x xmlns="http://www.w3.org/1999/xhtml"/>',
}


def svg(body: str, attributes: str = 'viewBox="0 0 10 10"') -> bytes:
    return HEAD.format(attributes, body).encode()


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_reaches_beyond_the_drawing_is_refused(body):
    with pytest.raises(InvalidArgumentError, match="not accepted"):
        parse_svg(svg(body))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"<svg/>",
        b"<html xmlns='http://www.w3.org/2000/svg'/>",
        b'<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        b'<!DOCTYPE svg SYSTEM "x.dtd"><svg xmlns="http://www.w3.org/2000/svg"/>',
        svg("<g>" * 40 + "</g>" * 40),
        svg("<g/>" * 6000),
        svg(" " * (1 << 20)),
    ],
    ids=["empty", "noise", "no namespace", "html", "entity", "dtd", "deep", "many", "large"],
)
def test_what_is_no_drawing_is_refused(content):
    with pytest.raises(InvalidArgumentError, match="SVG"):
        parse_svg(content)


def test_colours_and_alpha_are_drawn():
    image = render_svg(parse_svg(svg('<rect width="5" height="10" fill="#ff8000"/>')), 20, 20)
    assert image.shape == (20, 20, 4)
    np.testing.assert_array_equal(image[10, 5], [255, 128, 0, 255])
    assert image[10, 15, 3] == 0


@pytest.mark.parametrize("side", [0, -1, 4097])
def test_sizes_are_bounded(side):
    with pytest.raises(InvalidArgumentError, match="pixels"):
        render_svg(parse_svg(svg("<g/>")), side, 10)
