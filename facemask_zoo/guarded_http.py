"""Requests to addresses that people give: no private ones unless asked, and none for long."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from facemask_zoo.errors import AddressError, UnreachableError
from facemask_zoo.images import ADDRESS_SCHEMES

_USER_AGENT = "facemask-zoo"
_SHORTEST_SECONDS = 0.01


@contextlib.contextmanager
def responding(
    address: str,
    deadline: float,
    *,
    allow_private: bool = False,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Make one request and hand out the response, whose body is not read yet.

    The name is looked up once and the connection made to the very address that was checked, so
    that a second look-up cannot lead elsewhere. Redirects are not followed, proxies not used.

    Args:
        address: ``http://`` or ``https://``.
        deadline: When the connection is cut, on the clock of :func:`time.monotonic`.
        allow_private: Also reach this machine and its private network; not for addresses that
            strangers give.
        method: Such as ``"POST"``.
        body: What to send.
        headers: Beside those that every request has.

    Raises:
        AddressError: The address is wrong or private.
        UnreachableError: Nobody answers there, or not in time.
    """
    parts = split_address(address)
    numeric = look_up(parts, allow_private)
    seconds = max(_SHORTEST_SECONDS, deadline - time.monotonic())
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    sent = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": _USER_AGENT, **(headers or {})}
    try:
        with contextlib.closing(_connection(parts, numeric, seconds)) as connection:
            connection.connect()
            with _cut_off(connection, deadline):
                connection.request(method, path, body, sent, preload_content=False)
                response = connection.getresponse()
                if time.monotonic() > deadline:  # cut headers pass for whole ones
                    raise UnreachableError(f"{address!r} took too long.")
                yield response
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        late = time.monotonic() > deadline
        reason = "it took too long" if late else error
        raise UnreachableError(f"Cannot reach {address!r}: {reason}.") from error


def split_address(address: str) -> SplitResult:
    """The parts of an ``http(s)://`` address.

    Raises:
        AddressError: It is none.
    """
    try:
        parts = urlsplit(address)
        port = parts.port  # noqa: F841  # it is checked when it is read
    except ValueError as error:
        raise AddressError(f"{address!r} is not an address: {error}.") from error
    if f"{parts.scheme}://" not in ADDRESS_SCHEMES or not parts.hostname:
        raise AddressError(f"{address!r}: expected an address with {' or '.join(ADDRESS_SCHEMES)}.")
    return parts


def look_up(parts: SplitResult, allow_private: bool) -> str:
    """The numeric address of the host; if any of them is private, the host is refused.

    Raises:
        AddressError: It is private, and that is not allowed.
        UnreachableError: The host is not found.
    """
    host = parts.hostname or ""
    try:
        rows = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"The host {host!r} is not found: {error}.") from error
    found = [str(row[4][0]) for row in rows]
    private = [address for address in found if not is_public(address)]
    if private and not allow_private:
        raise AddressError(
            f"The host {host!r} is at the private address {private[0]}, which is not used unless "
            "you allow it."
        )
    return found[0]


def is_public(address: str) -> bool:
    """Whether a numeric address can be reached from anywhere."""
    number = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(number, "ipv4_mapped", None) or number
    return mapped.is_global and not mapped.is_multicast


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _connection(parts: SplitResult, numeric: str, seconds: float) -> HTTPConnection:
    if parts.scheme != "https":
        return HTTPConnection(numeric, _port(parts), timeout=seconds)
    host = parts.hostname or ""
    return HTTPSConnection(
        numeric,
        _port(parts),
        timeout=seconds,
        cert_reqs=ssl.CERT_REQUIRED,
        server_hostname=host,
        assert_hostname=host,
    )


@contextlib.contextmanager
def _cut_off(connection: HTTPConnection, deadline: float) -> Iterator[None]:
    """Shut the socket when the time is up: its own time limit starts anew with every byte."""
    wait = max(_SHORTEST_SECONDS, deadline - time.monotonic())
    timer = threading.Timer(wait, _shut, (connection.sock,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was faster
        connected.shutdown(socket.SHUT_RDWR)
