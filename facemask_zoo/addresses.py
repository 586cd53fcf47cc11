"""Pictures from web addresses, which are fetched only when somebody asks."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3

from facemask_zoo.errors import ImageError
from facemask_zoo.images import ADDRESS_SCHEMES, IMAGE_SUFFIXES

MAX_BYTES = 64 << 20
"""Default limit on the size of a file that is fetched."""

TIMEOUT_SECONDS = 20.0
"""Default limit on the time that fetching takes, redirects included."""

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 16
_USER_AGENT = "facemask-zoo"


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
    deadline = time.monotonic() + timeout
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _split(address)
        with _responding(parts, _lookup(parts, allow_private), deadline) as response:
            target = response.get_redirect_location()
            if not target:
                return _body(response, address, max_bytes, deadline)
            address = urljoin(address, target)
    raise ImageError(f"{address!r}: more than {_MAX_REDIRECTS} redirects.")


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        port = parts.port  # noqa: F841  # it is checked when it is read
    except ValueError as error:
        raise ImageError(f"{address!r} is not an address: {error}.") from error
    if f"{parts.scheme}://" not in ADDRESS_SCHEMES or not parts.hostname:
        raise ImageError(f"{address!r}: expected an address with {' or '.join(ADDRESS_SCHEMES)}.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _lookup(parts: SplitResult, allow_private: bool) -> str:
    """The numeric address of the host; if any of them is private, the host is refused."""
    host = parts.hostname or ""
    try:
        rows = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ImageError(f"The host {host!r} is not found: {error}.") from error
    found = [str(row[4][0]) for row in rows]
    private = [address for address in found if not _is_public(address)]
    if private and not allow_private:
        raise ImageError(
            f"The host {host!r} is at the private address {private[0]}, which is not fetched from "
            "unless you allow it."
        )
    return found[0]


def _is_public(address: str) -> bool:
    number = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(number, "ipv4_mapped", None) or number
    return mapped.is_global and not mapped.is_multicast


@contextlib.contextmanager
def _responding(
    parts: SplitResult, numeric: str, deadline: float
) -> Iterator[urllib3.BaseHTTPResponse]:
    name = parts.geturl()
    seconds = max(0.01, deadline - time.monotonic())
    limit = urllib3.Timeout(total=seconds)
    if parts.scheme == "https":
        host = parts.hostname or ""
        pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
            numeric, _port(parts), timeout=limit, server_hostname=host, assert_hostname=host
        )
    else:
        pool = urllib3.HTTPConnectionPool(numeric, _port(parts), timeout=limit)
    with pool:
        try:
            path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
            headers = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": _USER_AGENT}
            response = pool.urlopen(
                "GET", path, headers=headers, retries=False, redirect=False, preload_content=False
            )
            yield response
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ImageError(f"Cannot fetch {name!r}: {error}.") from error


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
