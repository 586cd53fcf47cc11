"""Pictures from addresses, served by this machine."""

from __future__ import annotations

import http.server
import threading
import time

import numpy as np
import pytest

from facemask_zoo import ImageError, fetch_image
from facemask_zoo.addresses import is_image_address
from facemask_zoo.guarded_http import is_public
from facemask_zoo.images import load_image


class _Pages(http.server.BaseHTTPRequestHandler):
    picture = b""

    def do_GET(self):
        page = self.path.partition("?")[0]
        if page == "/away.jpg":
            self._answer(302, {"Location": "/a.jpg"})
        elif page == "/loop.jpg":
            self._answer(302, {"Location": "/loop.jpg"})
        elif page == "/file.jpg":
            self._answer(302, {"Location": "file:///etc/passwd"})
        elif page == "/slow.jpg":
            self._answer(200, {})
            for _ in range(600):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        elif page == "/slow-headers.jpg":
            self.send_response(200)
            self.flush_headers()
            for _ in range(600):
                self.wfile.write(b"X")
                self.wfile.flush()
                time.sleep(0.1)
        elif page == "/a.jpg":
            self._answer(200, {})
            self.wfile.write(self.picture)
        else:
            self._answer(404, {})

    def _answer(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def server(portrait):
    _Pages.picture = portrait.read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_picture_is_fetched_when_asked(server, portrait):
    for name in ("a.jpg", "a.jpg?size=2#part", "away.jpg"):
        data = fetch_image(f"{server}/{name}", allow_private=True)
        np.testing.assert_array_equal(load_image(data), load_image(portrait))


def test_private_addresses_are_refused_unless_allowed(server):
    for address in (f"{server}/a.jpg", f"{server}/a.jpg".replace("127.0.0.1", "localhost")):
        with pytest.raises(ImageError, match="private"):
            fetch_image(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0"),
        *("::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "224.0.0.1", "100.64.0.1"),
    ],
)
def test_what_is_private(address):
    assert not is_public(address)
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/loop.jpg", "redirects"),
        ("/file.jpg", "expected an address"),
        ("/missing.jpg", "status 404"),
    ],
)
def test_servers_that_misbehave(server, name, message):
    with pytest.raises(ImageError, match=message):
        fetch_image(server + name, allow_private=True)


def test_size_and_time_are_limited(server):
    with pytest.raises(ImageError, match="larger than 1000 bytes"):
        fetch_image(f"{server}/a.jpg", max_bytes=1000, allow_private=True)
    for page in ("slow.jpg", "slow-headers.jpg"):
        start = time.monotonic()
        with pytest.raises(ImageError, match="too long"):
            fetch_image(f"{server}/{page}", timeout=0.5, allow_private=True)
        assert time.monotonic() - start < 40  # it would have taken a minute


@pytest.mark.parametrize(
    "address",
    ["", "a.jpg", "ftp://a/b.jpg", "http://", "http://a:99999/b.jpg", "http://[::1/b.jpg"],
)
def test_what_is_no_address(address):
    with pytest.raises(ImageError):
        fetch_image(address)


def test_an_unknown_host_is_an_error():
    with pytest.raises(ImageError, match="not found"):
        fetch_image("http://host.invalid/a.jpg")


def test_which_addresses_are_of_pictures():
    assert is_image_address("HTTPS://host/a.JPG?x=1")
    assert not is_image_address("https://host/a.mp4")
    assert not is_image_address("a.jpg")
