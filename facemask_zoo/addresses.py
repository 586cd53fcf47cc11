"""Pictures from web addresses, which are fetched only when somebody asks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from facemask_zoo.errors import AddressError, ImageError
from facemask_zoo.images import ADDRESS_SCHEMES, IMAGE_SUFFIXES

if TYPE_CHECKING:
    import urllib3

MAX_BYTES = 64 << 20
"""Default limit on the size of a file that is fetched."""

TIMEOUT_SECONDS = 20.0
"""Default limit on the time that fetching takes, redirects included."""

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 16


def is_image_address(name: str) -> bool:
    """Whether it is an ``http(s)://`` address whose path has the suffix of a picture."""
    if not name.lower().startswith(ADDRESS_SCHEMES):
        return False
    return name.partition("?")[0].partition("#")[0].lower().endswith(IMAGE_SUFFIXES)


def fetch_image(
    address: str,
    *,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT_SECONDS,
    allow_private: bool = False,
) -> bytes:
    """Fetch a picture: ``detector.detect(fetch_image("https://..."))``.

    The name is looked up once and the connection made to the very address that was checked, so
    that a second look-up cannot lead elsewhere. Every redirect is checked alike. Proxies are not
    used.

    Args:
        address: ``http://`` or ``https://``.
        max_bytes: Largest file accepted.
        timeout: Seconds for everything together.
        allow_private: Also fetch from this machine and its private network; not for addresses
            that strangers give.

    Returns:
        The file's bytes, encoded as they came.

    Raises:
        ImageError: The address is wrong, private, unreachable or too slow, the file too large, or
            the server reports an error.
    """
    from facemask_zoo.guarded_http import responding  # urllib3 is slow to import, and rarely needed

    deadline = time.monotonic() + timeout
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            with responding(address, deadline, allow_private=allow_private) as response:
                target = response.get_redirect_location()
                if not target:
                    return _body(response, address, max_bytes, deadline)
                address = urljoin(address, target)
    except AddressError as error:
        raise ImageError(str(error)) from error
    raise ImageError(f"{address!r}: more than {_MAX_REDIRECTS} redirects.")


def _body(
    response: urllib3.BaseHTTPResponse, address: str, max_bytes: int, deadline: float
) -> bytes:
    if response.status != 200:
        raise ImageError(f"Cannot fetch {address!r}: status {response.status}.")
    data = bytearray()
    while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
        data += chunk
        if len(data) > max_bytes:
            raise ImageError(f"{address!r} is larger than {max_bytes} bytes.")
    if time.monotonic() > deadline:
        raise ImageError(f"{address!r} took too long.")
    return bytes(data)
