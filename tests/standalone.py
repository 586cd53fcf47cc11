"""Each framework with nothing but its own extra, in an environment of its own.

Every model of the zoo and a file of the user's own are run in each. Takes minutes and gigabytes, so
it is not part of ``make test``; run it with ``make standalone``.

Usage: python tests/standalone.py [--python PYTHON] [--model NAME ...] [FRAMEWORK ...]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import list_models
from facemask_zoo.store import open_weights

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "pictures" / "demo.jpg"
EXPECTED = ["mask", "no_mask"]
BASE = "base"
BASE_FRAMEWORK = "onnx"
OWN_FILE = "own.safetensors"
SCRIPT = "onnx_infer.py"


def main() -> int:
    """Try every framework (and the base install), and report what each found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frameworks", nargs="*", default=[BASE, *FRAMEWORKS])
    parser.add_argument("--python", default=sys.executable, help="interpreter to build with")
    parser.add_argument("--model", nargs="+", default=[*list_models(), OWN_FILE])
    parser.add_argument("--no-constraints", action="store_true", help="newest versions instead")
    args = parser.parse_args()
    good = [try_alone(name, args) for name in args.frameworks]
    return 0 if all(good) else 1


def try_alone(name: str, args: argparse.Namespace) -> bool:
    """Install one extra, and detect with every model in an empty cache; whether all is well."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            environment = build(Path(folder), name, args)
        except subprocess.CalledProcessError as error:
            say(name, "-", f"NOT INSTALLED\n{error.stderr or error.stdout}")
            return False
        say(name, "-", f"{size_of(environment)} MB")
        shutil.copy(open_weights("zoo-260").fetch(), Path(folder) / OWN_FILE)
        framework = BASE_FRAMEWORK if name == BASE else name
        good = [try_model(name, model, framework, environment) for model in args.model]
        if name == BASE:
            good.append(try_script(environment))
    return all(good)


def build(folder: Path, name: str, args: argparse.Namespace) -> Path:
    """A virtual environment with the package and one extra."""
    environment = folder / "venv"
    run([args.python, "-m", "venv", str(environment)])
    target = str(ROOT) if name == BASE else f"{ROOT}[{name}]"
    pins = [] if args.no_constraints else ["--constraint", str(ROOT / "constraints.txt")]
    run([str(environment / "bin" / "pip"), "install", "--quiet", *pins, target])
    return environment


def try_model(name: str, model: str, framework: str, environment: Path) -> bool:
    """Detect in the demonstration picture; whether the bare and the masked face are found."""
    words = ["detect", str(PICTURE), "--json", "--model", model, "--framework", framework]
    try:
        output = run([str(environment / "bin" / "facemask-zoo"), *words], cwd=environment.parent)
    except subprocess.CalledProcessError as error:
        say(name, model, f"FAILED\n{error.stderr or error.stdout}")
        return False
    labels = sorted(face["label"] for face in json.loads(output)["detections"])
    say(name, model, f"{'works' if labels == EXPECTED else 'WRONG'} {labels}")
    return labels == EXPECTED


def try_script(environment: Path) -> bool:
    """Run one of AIZOO's command lines on the installed package."""
    words = ["-P", str(ROOT / SCRIPT), "--img-path", str(PICTURE)]
    try:
        output = run([str(environment / "bin" / "python"), *words], cwd=environment.parent)
    except subprocess.CalledProcessError as error:
        say(BASE, SCRIPT, f"FAILED\n{error.stderr or error.stdout}")
        return False
    rows = json.loads(output)
    say(BASE, SCRIPT, f"{'works' if len(rows) == len(EXPECTED) else 'WRONG'} {rows}")
    return len(rows) == len(EXPECTED)


def run(command: list[str], cwd: Path | None = None) -> str:
    """Run a command, with an empty cache in `cwd`, and return its standard output."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["FACEMASK_ZOO_CACHE"] = f"{cwd}/cache"
    result = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=True
    )
    return result.stdout


def size_of(folder: Path) -> int:
    """Megabytes on disk."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) // 1_000_000


def say(name: str, model: str, outcome: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{name:11} {model:16} {outcome}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
