"""Events sent to a web address as they come, without holding the video up."""

from __future__ import annotations

import logging
import queue
import threading
import time
from types import TracebackType

from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from facemask_zoo.arguments import check_count, check_number
from facemask_zoo.errors import AddressError, UnreachableError
from facemask_zoo.guarded_http import look_up, responding, split_address
from facemask_zoo.tracking.stays import Event

log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Events that wait to be sent; more are dropped, and said to be."""

_TRY_AGAIN = (408, 425, 429)
_SAYS_WHEN = (429, 503)
_MAX_PAUSE_SECONDS = 60.0
_MAX_ASKED_SECONDS = 6 * 3600.0  # who asks for more means nothing by it
_HEADERS = {"Content-Type": "application/json"}


def post(
    address: str, payload: bytes, *, timeout: float = 10.0, allow_private: bool = False
) -> None:
    """Send JSON to an address, once.

    Args:
        address: ``http://`` or ``https://``.
        payload: JSON text, encoded.
        timeout: Seconds for everything together.
        allow_private: Also send to this machine and its private network.

    Raises:
        AddressError: The address is wrong or private, redirects elsewhere, or refuses the request.
        UnreachableError: It may be worth another try.
    """
    deadline = time.monotonic() + timeout
    with responding(
        address,
        deadline,
        allow_private=allow_private,
        method="POST",
        body=payload,
        headers=_HEADERS,
    ) as response:
        status, asked = response.status, response.headers.get("Retry-After")
    if status >= 500 or status in _TRY_AGAIN:
        pause = _seconds(asked) if asked and status in _SAYS_WHEN else 0.0
        raise UnreachableError(f"{address!r} answered with status {status}.", pause)
    if 300 <= status < 400:
        raise AddressError(
            f"{address!r} redirects (status {status}), which is not followed: give the address "
            "where events are taken."
        )
    if not 200 <= status < 300:
        raise AddressError(f"{address!r} answered with status {status}.")


def _seconds(retry_after: str) -> float:
    """What a ``Retry-After`` header asks for, as seconds or a date; 0 if it makes no sense."""
    try:
        seconds = Retry().parse_retry_after(retry_after)
    except (HTTPError, ValueError, OverflowError):
        return 0.0
    return seconds if seconds < _MAX_ASKED_SECONDS else 0.0


class Webhook:
    """Sends events to a web address, in order, from a thread of its own.

    What cannot be delivered is tried again, after a pause that doubles each time, or a longer one
    that the server asks for (``Retry-After``). Leaving the ``with`` block waits for the events that
    are still to be sent.

    Args:
        address: ``http://`` or ``https://``; each event is posted there as JSON.
        timeout: Seconds for one try.
        retries: Further tries after one that failed.
        pause: Seconds before the first of them; at most 60 in the end, whatever the server asks.
        patience: Seconds that the end of the ``with`` block may take.
        allow_private: Also send to this machine and its private network. It is looked at anew
            with every try; redirects are not followed.

    Attributes:
        sent: Number of events that were delivered.
        failed: Number of those that were not.

    Raises:
        AddressError: The address is wrong or private, or its host is not found.
        InvalidArgumentError: A number makes no sense.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 10.0,
        retries: int = 4,
        pause: float = 1.0,
        patience: float = 60.0,
        allow_private: bool = False,
    ) -> None:
        look_up(split_address(address), allow_private)
        self._address, self._allow_private = address, allow_private
        self._timeout = check_number("timeout", timeout, 0.01, threading.TIMEOUT_MAX)
        check_count("retries", retries, 0)
        self._retries = int(retries)
        self._pause = check_number("pause", pause, 0)
        self._patience = check_number("patience", patience, 0, threading.TIMEOUT_MAX)
        self.sent = self.failed = 0
        self._waiting: queue.Queue[Event | None] = queue.Queue(MAX_WAITING)
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Webhook:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        deadline = time.monotonic() + self._patience
        try:
            self._waiting.put(None, timeout=self._patience)
        except queue.Full:
            self._given_up.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._given_up.set()
        if self._thread.is_alive():  # it ends with the try that it is in
            left = self._waiting.qsize()
            log.error("webhook: gave up after %g s; %d events wait.", self._patience, max(1, left))
            self._count(failed=max(1, left))

    def __call__(self, event: Event) -> None:
        """Send an event; returns at once."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._count(failed=1)
            log.error("webhook: %d events wait already; one was dropped.", MAX_WAITING)

    def _count(self, *, sent: int = 0, failed: int = 0) -> None:
        with self._lock:
            self.sent += sent
            self.failed += failed

    def _work(self) -> None:
        while not self._given_up.is_set() and (event := self._waiting.get()) is not None:
            problem = self._deliver(event.to_json().encode())
            if self._given_up.is_set():  # it was counted when the others were
                return
            self._count(sent=problem is None, failed=problem is not None)
            if problem:
                log.error("webhook: event %s was not delivered: %s", event.id, problem)

    def _deliver(self, payload: bytes) -> AddressError | None:
        """Try as often as it makes sense; returns why it was in vain, or None."""
        problem: UnreachableError | None = None
        for number in range(self._retries + 1):
            if problem and self._given_up.wait(self._pause_before(number, problem.retry_after)):
                return problem
            try:
                post(
                    self._address,
                    payload,
                    timeout=self._timeout,
                    allow_private=self._allow_private,
                )
            except UnreachableError as error:
                problem = error
            except AddressError as error:
                return error
            else:
                return None
        return problem

    def _pause_before(self, number: int, asked: float) -> float:
        usual = self._pause * 2.0 ** min(number - 1, 32)
        return min(max(usual, asked), _MAX_PAUSE_SECONDS)
