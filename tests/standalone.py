"""Each framework with nothing but its own extra, in an environment of its own.

Takes minutes and gigabytes, so it is not part of ``make test``; run it with ``make standalone``.

Usage: python tests/standalone.py [--python PYTHON] [--model NAME] [FRAMEWORK ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import DEFAULT_MODEL

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "demo.jpg"
BASE = "base"


def main() -> int:
    """Try every framework (and the base install), and report what each found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frameworks", nargs="*", default=[BASE, *FRAMEWORKS])
    parser.add_argument("--python", default=sys.executable, help="interpreter to build with")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--no-constraints", action="store_true", help="newest versions instead")
    args = parser.parse_args()
    failed = []
    for name in args.frameworks:
        try:
            labels, size = try_alone(name, args)
            good = labels == ["mask", "no_mask"]
            sys.stdout.write(f"{name:11} {'works' if good else 'WRONG'} {labels} {size} MB\n")
        except subprocess.CalledProcessError as error:
            good = False
            sys.stdout.write(f"{name:11} FAILED\n{error.stderr or error.stdout}\n")
        sys.stdout.flush()
        if not good:
            failed.append(name)
    return 1 if failed else 0


def try_alone(name: str, args: argparse.Namespace) -> tuple[list[str], int]:
    """Install one extra and detect.

    Returns:
        Labels found in the demonstration picture, sorted, and the environment's size in MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        run([args.python, "-m", "venv", str(environment)])
        target = str(ROOT) if name == BASE else f"{ROOT}[{name}]"
        pins = [] if args.no_constraints else ["--constraint", str(ROOT / "constraints.txt")]
        run([str(environment / "bin" / "pip"), "install", "--quiet", *pins, target])
        words = ["detect", str(PICTURE), "--json", "--model", args.model]
        framework = ["--framework", "onnx" if name == BASE else name]
        output = run([str(environment / "bin" / "facemask-zoo"), *words, *framework], cwd=folder)
        size = sum(path.lstat().st_size for path in environment.rglob("*"))
    found = json.loads(output)["detections"]
    return sorted(face["label"] for face in found), size // 1_000_000


def run(command: list[str], cwd: str | None = None) -> str:
    """Run a command, with an empty cache in `cwd`, and return its standard output."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["FACEMASK_ZOO_CACHE"] = f"{cwd}/cache"
    result = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=True
    )
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
