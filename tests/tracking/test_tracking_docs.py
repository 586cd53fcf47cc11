"""docs/tracking.md: its Python finds what is in a film, and its webhook a server."""

from __future__ import annotations

import argparse
import http.server
import re
import shlex
import threading

from places import ROOT
from tracking.scenes import Actor, film, walk

from facemask_zoo.tracking import Event, command

PAGE = (ROOT / "docs" / "tracking.md").read_text()


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "gate.mp4", [Actor(walk((20, 10), (20, 0)))], 3)
    first, second = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(first, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 door 0.")
    assert lines[1] == "0.0 [0.0]"
    assert {path.name for path in tmp_path.iterdir()} == {
        "gate.mp4",
        "intervals.csv",
        "intervals.png",
    }
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f'"http://127.0.0.1:{server.server_port}/", allow_private=True'
        told = second.replace('"https://alerts.example.org/faces"', here)
        exec("rule = StayRule(1)\n" + told, names)
        server.shutdown()
    assert capsys.readouterr().out == "1 0\n"


def test_the_commands_are_understood():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    text = PAGE.replace("\\\n", " ")
    calls = re.findall(r"^facemask-zoo watch (.*)$", text, re.MULTILINE)
    assert len(calls) == 2
    for call in calls:
        parser.parse_args(shlex.split(call))


def test_the_fields_of_an_event_are_shown():
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    fields = set(Event.__dataclass_fields__) - {"clock"}
    assert set(re.findall(r'"(\w+)":', shown)) == fields | {"seconds"}
