"""Webhooks against a real server that is slow, fails, redirects, or is where it must not be."""

from __future__ import annotations

import collections
import email.utils
import http.server
import json
import logging
import math
import socket
import threading
import time

import pytest
from tracking.scenes import tracked

from facemask_zoo.errors import AddressError, InvalidArgumentError, UnreachableError
from facemask_zoo.tracking import StayRule, Webhook
from facemask_zoo.tracking.webhook import post


class _Hooks(http.server.BaseHTTPRequestHandler):
    """Answers as the path says, and writes down what came."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, body, dict(self.headers)))
        self.server.times.append(time.monotonic())
        kind, _, value = self.path.strip("/").partition("/")
        if kind == "fails-twice" and self.server.failures[self.path] < 2:
            self.server.failures[self.path] += 1
            return self._answer(503)
        if kind == "status":
            return self._answer(int(value), self.server.headers)
        if kind == "redirect":
            return self._answer(307, {"Location": f"http://127.0.0.1:{self.server.other}/stolen"})
        if kind == "held":
            self.server.release.wait(60)
        if kind == "drip":
            for _ in range(600):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.1)
        if kind == "garbage":
            return self.wfile.write(b"\0\xff not HTTP\r\n\r\n")
        return self._answer(200)

    def _answer(self, status, headers=None):
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        """The client went away: that is what is tested."""


@pytest.fixture
def server():
    with _Server(("127.0.0.1", 0), _Hooks) as running:
        running.came, running.failures = [], collections.Counter()
        running.times, running.headers = [], {}
        running.release = threading.Event()
        running.other = running.server_port
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.address = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.release.set()
        running.shutdown()


def event(number: int = 1):
    frame = tracked(2.0, [(number, (100, 100), "no_mask")])
    return StayRule(0).update(frame)[0]


def deliver(server, path, count=1, **options):
    options = {"allow_private": True, "pause": 0.01, "timeout": 5, **options}
    with Webhook(server.address + path, **options) as hook:
        for number in range(count):
            hook(event(number + 1))
    return hook


def test_events_arrive_in_order_as_json(server):
    hook = deliver(server, "/taken?key=1", 5)
    assert (hook.sent, hook.failed) == (5, 0)
    values = [json.loads(body) for _, body, _ in server.came]
    assert [value["track_id"] for value in values] == [1, 2, 3, 4, 5]
    path, _, headers = server.came[0]
    assert path == "/taken?key=1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == server.address.removeprefix("http://")


def test_a_server_that_fails_is_tried_again_and_then_given_up(server, caplog):
    hook = deliver(server, "/fails-twice/a")
    assert (hook.sent, hook.failed, len(server.came)) == (1, 0, 3)
    assert len({body for _, body, _ in server.came}) == 1  # the same event, by its id
    server.came.clear()
    hook = deliver(server, "/status/500", retries=2)
    assert (hook.sent, hook.failed, len(server.came)) == (0, 1, 3)
    assert "status 500" in caplog.text


def test_pauses_double(server):
    start = time.monotonic()
    deliver(server, "/status/500", retries=3, pause=0.1)
    assert time.monotonic() - start >= 0.7


def pause_of(server, status, asked, **options):
    """Seconds between the two tries, if a server asks for a pause."""
    server.headers["Retry-After"] = asked
    assert deliver(server, f"/status/{status}", retries=1, **options).failed == 1
    first, second = server.times
    return second - first


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_says_when_it_is_to_be_tried_again(server, status, form):
    date = email.utils.formatdate(math.ceil(time.time()) + 1, usegmt=True)
    assert pause_of(server, status, "1" if form == "seconds" else date) >= 0.9


HOSTILE = ["-5", "nan", "inf", "1e1", "soon", "", "1, 2", "9" * 30, "9" * 5000, "9999999"]
HOSTILE += ["Wed, 99 Foo 2026 00:00:00 GMT", "Fri, 31 Dec 99999999 23:59:59 GMT"]
HOSTILE += ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "0", "\u0663"]


@pytest.mark.parametrize("asked", HOSTILE)
def test_a_pause_that_makes_no_sense_is_ignored(server, asked):
    assert 0.2 <= pause_of(server, 503, asked.encode().decode("latin-1"), pause=0.2) < 20


def test_other_answers_say_nothing_about_when(server):
    assert pause_of(server, 500, "50") < 20


def test_a_server_does_not_decide_how_long_it_is_waited_for(server, monkeypatch):
    start = time.monotonic()
    assert deliver(server, "/status/503", retries=0).failed == 1
    server.headers["Retry-After"] = "50"
    assert deliver(server, "/status/503", patience=0.5).failed == 1
    server.times.clear()
    monkeypatch.setattr("facemask_zoo.tracking.webhook._MAX_PAUSE_SECONDS", 0.3)
    assert pause_of(server, 503, "3600") >= 0.3
    assert time.monotonic() - start < 40


@pytest.mark.parametrize("status", [400, 401, 404, 410, 300, 302])
def test_what_will_not_get_better_is_not_tried_again(server, status):
    hook = deliver(server, f"/status/{status}")
    assert (hook.failed, len(server.came)) == (1, 1)


@pytest.mark.parametrize("status", [408, 429, 502])
def test_what_may_get_better_is_tried_again(server, status):
    assert deliver(server, f"/status/{status}", retries=1).failed == 1
    assert len(server.came) == 2


def test_redirects_are_not_followed(server, caplog):
    hook = deliver(server, "/redirect")
    assert hook.failed == 1
    assert [path for path, _, _ in server.came] == ["/redirect"]
    assert "not followed" in caplog.text


@pytest.mark.parametrize("path", ["/held", "/drip"])
def test_slow_servers_are_cut_off(server, path):
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="too long"):
        post(server.address + path, b"{}", timeout=0.4, allow_private=True)
    assert time.monotonic() - start < 40  # they would have taken a minute


def test_what_is_no_http_is_an_error(server):
    with pytest.raises(UnreachableError):
        post(f"{server.address}/garbage", b"{}", allow_private=True)
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    with pytest.raises(UnreachableError):
        post(f"http://127.0.0.1:{closed.getsockname()[1]}/", b"{}", timeout=2, allow_private=True)
    closed.close()


def test_sending_does_not_hold_the_video_up(server):
    with Webhook(f"{server.address}/held", timeout=60, allow_private=True) as hook:
        for number in range(3):
            hook(event(number))
        assert hook.sent == 0
        server.release.set()
    assert hook.sent == 3


def test_the_end_is_waited_for_but_not_forever(server, caplog):
    start = time.monotonic()
    hook = deliver(server, "/status/503", 4, retries=50, pause=60, patience=0.5)
    assert time.monotonic() - start < 40  # less than one pause
    assert hook.failed == 4
    assert "gave up" in caplog.text


def test_more_than_can_wait_is_dropped_and_said(server, monkeypatch, caplog):
    monkeypatch.setattr("facemask_zoo.tracking.webhook.MAX_WAITING", 2)
    hook = deliver(server, "/slow/0.2", 9)
    assert 0 < hook.failed < 9
    assert hook.sent + hook.failed == 9
    assert "dropped" in caplog.text


@pytest.mark.parametrize(
    "address",
    ["", "hook", "ftp://host/x", "file:///etc/passwd", "http://", "http://a:99999/", "//host/x"],
)
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(AddressError):
        Webhook(address)


def test_private_addresses_are_refused_at_once_unless_asked(server):
    for host in ("127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0x7f.1"):
        with pytest.raises(AddressError, match="private"):
            Webhook(f"http://{host}/hook")
    with pytest.raises(AddressError, match="not found"):
        Webhook("http://host.invalid/hook")


def test_a_name_that_moves_to_a_private_address_is_caught(server, monkeypatch):
    """DNS rebinding: public when it is looked at first, private when the event is sent."""
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Webhook(f"http://rebound.example:{server.server_port}/hook", pause=0) as hook:
        hook(event())
    assert (hook.sent, hook.failed) == (0, 1)
    assert server.came == []


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}, {"pause": -1}]
)
def test_numbers_that_make_no_sense_are_refused(server, options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        Webhook(server.address, allow_private=True, **options)


def test_nothing_is_logged_when_all_is_well(server, caplog):
    with caplog.at_level(logging.INFO, "facemask_zoo"):
        deliver(server, "/taken")
    assert caplog.text == ""
