"""Every code block of README and the documentation runs, or its page says why it does not."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import needs
import pages
import pytest
import yaml
from places import ROOT, SHARED

from facemask_zoo import cli

RUN = ("bash", "python")
PARSED = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
SHOWN = ("text", "js", "dockerfile")
"""What programs print, and other languages: the `js` block is run by tests/test_docs.py."""

BLOCKS = [block for page in pages.PAGES for block in pages.blocks(page)]
RUNNING = {
    page: [b for b in BLOCKS if b.page == page and b.language in RUN and not b.not_run]
    for page in pages.PAGES
}
PUBLISHED = "AIZOO's published files"

# A command that takes long gets its own options, and these after them.
SHORTENED = {
    "train": "--steps 2 --batch-size 2 --threads 2 --workers 0 --precision fp32",
    "eval": "--resamples 10",
    "bench": "--framework onnx --rounds 1 --warm-up 0 --repeats 1 --threads 1",
}
SHELL = re.compile(r"[|<>*?;&$`]")
COMMANDS = re.compile(r"^(\$ )?(facemask-zoo|pip|python\d?|make|pytest|export|docker) ")


def ids(block: pages.Block) -> str:
    return block.place


@pytest.mark.parametrize("block", BLOCKS, ids=ids)
def test_every_block_says_what_it_is(block):
    assert block.is_fenced, f"{block.place}: fence it, with its language"
    assert block.language in (*RUN, *PARSED, *SHOWN), f"{block.place}: {block.language!r}"
    if block.language == "text":
        assert not COMMANDS.match(block.code), f"{block.place}: commands are `bash`"
    if block.language in PARSED:
        PARSED[block.language](block.code)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.not_run or b.needs], ids=ids)
def test_what_is_not_run_has_a_reason(block):
    if block.needs:
        assert block.needs == PUBLISHED, f"{block.place}: this need is not known"
        return
    assert len(block.not_run.split()) >= 2, f"{block.place}: {block.not_run!r} is no reason"
    if block.not_run == "installs packages":
        assert re.search(r"pip install|venv", block.code), block.place


@pytest.mark.parametrize("page", [p for p in pages.PAGES if RUNNING[p]], ids=lambda p: p.stem)
def test_the_blocks_of_a_page_run_in_order(page, user_folder, monkeypatch):
    names = {"__name__": "page"}
    for block in RUNNING[page]:
        if block.is_run_elsewhere or (block.needs and not SHARED.is_dir()):
            continue
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, page.name, "exec"), names)
        else:
            run_shell(block, monkeypatch)


def run_shell(block: pages.Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value)
        elif words[0] == "facemask-zoo" and not SHELL.search(line):
            assert run_command(words[1:]) == 0, f"{block.place}: {line}"
        else:
            result = run_program(line)
            assert result.returncode == 0, f"{block.place}: {line}\n{result.stderr}"


def run_command(words: list[str]) -> int:
    if words[0] == "train":
        needs.package("torch")
    return cli.main([*words, *SHORTENED.get(words[0], "").split()])


def run_program(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line by a shell that finds this interpreter, and the command of this checkout."""
    line = re.sub(r"^python3? ", f"{shlex.quote(sys.executable)} ", line)
    line = re.sub(r"^facemask-zoo ", f"{shlex.quote(sys.executable)} -m facemask_zoo ", line)
    words = ["bash", "-euo", "pipefail", "-c", line]
    return subprocess.run(words, env=os.environ, capture_output=True, text=True, timeout=600)


def test_extras_and_targets_that_pages_name_exist():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in pages.PAGES:
        text = page.read_text()
        for named in re.findall(r"(?:facemask-zoo|'\.|WHEEL)\[([\w,-]+)\]", text):
            assert set(named.split(",")) <= extras | {"NAME"}, (page.name, named)
        for named in re.findall(r"(?:^|`)make ([a-z-]+)(?: ([a-z-]+)`)?", text, re.MULTILINE):
            assert set(filter(None, named)) <= targets, (page.name, named)


def test_a_block_that_fails_is_seen(user_folder, monkeypatch):
    block = pages.Block(
        ROOT / "README.md", 1, "bash", "facemask-zoo detect nowhere.jpg\n", *4 * ("",)
    )
    with pytest.raises(AssertionError):
        run_shell(block, monkeypatch)
