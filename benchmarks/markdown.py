"""Tables in Markdown, and replacing a marked part of a file with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.files import atomic_path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_section(path: Path, name: str) -> str:
    """What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises:
        InvalidArgumentError: The file cannot be read, or lacks the marks.
    """
    content, start, end = check_section(path, name)
    return content.split(start, 1)[1].split(end, 1)[0].strip("\n")


def replace_section(path: Path, name: str, text: str) -> None:
    """Put `text` between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises:
        InvalidArgumentError: The file lacks the marks.
    """
    content, start, end = check_section(path, name)
    before, rest = content.split(start, 1)
    after = rest.split(end, 1)[1]
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(f"{before}{start}\n{text}\n{end}{after}")


def check_section(path: Path, name: str) -> tuple[str, str, str]:
    """The text of a file and the two marks of a section of it.

    Raises:
        InvalidArgumentError: The file cannot be read, or lacks the marks.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    try:
        content = path.read_text()
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{path} cannot be read: {error}.") from error
    if start not in content or end not in content:
        raise InvalidArgumentError(f"{path} has no section {start} ... {end}.")
    return content, start, end
