"""How commands and scripts end: exit codes, broken pipes, full disks and terminals without Unicode.

=====  ==================================================================
Code   Meaning
=====  ==================================================================
0      All went well.
1      Something failed: a source, an option, or writing the results.
2      A wrong call: an unknown option or a missing argument.
130    Stopped by Ctrl-C.
141    Whoever read the results stopped reading, as ``head`` does.
=====  ==================================================================
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from facemask_zoo.detections import Detections
from facemask_zoo.errors import FaceMaskZooError

FAILED = 1
STOPPED = 128 + 2
PIPE_CLOSED = 128 + 13

log = logging.getLogger(__name__)


def start_logging(*, quiet: bool = False) -> None:
    """Send the log to standard error, without its levels; let no character be unwritable."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, stream=sys.stderr, format="%(message)s", force=True)


def guarded(run: Callable[[], int], program: str = "facemask-zoo") -> int:
    """Run a program, and turn what goes wrong into one line and an exit code.

    Args:
        run: The program; it returns its exit code.
        program: Its name, for the line.
    """
    try:
        status = run()
        sys.stdout.flush()
    except FaceMaskZooError as error:
        log.error("%s: %s", program, error)
        return FAILED
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:  # files are read and written under errors of our own
        log.error("%s: cannot write the results: %s", program, error.strerror or error)
        _discard_output()
        return FAILED
    return status


@contextlib.contextmanager
def finishing_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let what is under way be finished and kept on the first Ctrl-C; the second stops at once.

    Yields:
        A function that says whether to come to an end. Where Ctrl-C is not this thread's to
        handle, it never does.
    """
    stop = threading.Event()
    usual = signal.default_int_handler
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not usual:
        yield stop.is_set
        return

    def note(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, usual)
        stop.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, usual)


def json_line(result: Detections) -> str:
    """A result as JSON that standard output can hold: ASCII alone where it is not Unicode."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return json.dumps(result.to_dict(), ensure_ascii=not encoding.startswith("utf")) + "\n"


def _discard_output() -> None:
    """Nothing more can be written; what is left must not be tried again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
