"""What an installation holds, and what it needs."""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from places import ROOT
from seeded import SMALL, seeded_model

from facemask_zoo import list_models, model_files
from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.cards import DETECTION

PACKAGES = ("facemask_zoo", "converters", "weights", "benchmarks")
BUILD_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
LINKED = PACKAGES[1:]
RECORDS = "benchmarks/results/"
"""What was measured on a machine: it stays in the sources."""
HAS_SETUPTOOLS = any(d.metadata["Name"] == "setuptools" for d in metadata.distributions())
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LIST_MODELS = "import facemask_zoo; print(*facemask_zoo.list_models())"
"""Isolated from the environment, with the folders of the arguments as its site-packages."""
LIST_MODELS_AT = f"""
import site, sys
for folder in sys.argv[2:]:
    sys.path.append(folder)
site.addsitedir(sys.argv[1])
{LIST_MODELS}
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [*PIP, "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(params=["text files", "missing"])
def linkless(request, tmp_path) -> Path:
    """A checkout as git makes it where there are no symbolic links, or as some zips hold it."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=ignored)
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, checkout / name)
    for name in LINKED:
        link = checkout / "facemask_zoo" / name
        link.unlink()
        if request.param == "text files":
            link.write_text(f"../{name}")
    return checkout


def run_isolated(program: str, *arguments: object) -> str:
    """What a program prints that sees no package but those it asks for itself."""
    command = [sys.executable, "-I", "-S", "-c", program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def site_packages() -> list[str]:
    return list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))


def test_only_the_package_appears_in_site_packages(names):
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"facemask_zoo"}


def test_every_module_and_card_is_installed(names):
    parts = {"facemask_zoo": "facemask_zoo", "converters": "facemask_zoo/converters"}
    parts |= {"weights": "facemask_zoo/weights", "benchmarks": "facemask_zoo/benchmarks"}
    listed = subprocess.run(
        ["git", "ls-files", *parts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]
    files = [line for line in files if not line.startswith(RECORDS)]
    assert len(files) > 30
    for file in files:
        folder, rest = file.split("/", 1)
        assert f"{parts[folder]}/{rest}" in names


def test_no_records_of_a_machine_are_installed(names):
    assert not [name for name in names if f"facemask_zoo/{RECORDS}" in name]


def test_the_types_are_announced(names):
    assert "facemask_zoo/py.typed" in names


def test_the_package_imports_no_framework():
    program = """
import sys
import facemask_zoo, facemask_zoo.cli
heavy = {"torch", "tensorflow", "keras", "mxnet", "cv2", "onnxruntime", "onnx", "av"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("editable", [False, True], ids=["copied", "editable"])
def test_a_checkout_without_symbolic_links_installs(linkless, editable, tmp_path):
    prefix = tmp_path / "prefix"
    words = ["install", "--quiet", "--no-deps", "--ignore-installed", "--prefix", prefix]
    words += ["--no-build-isolation"] if HAS_SETUPTOOLS else []
    words += ["--editable", linkless] if editable else [linkless]
    subprocess.run([*PIP, *words], check=True, timeout=300)
    (site,) = {sysconfig.get_path("purelib", vars={"base": str(prefix)})}
    listed = run_isolated(LIST_MODELS_AT, site, *site_packages())
    assert listed.split() == list_models()


def test_a_checkout_without_symbolic_links_runs_where_it_lies(linkless):
    program = f"import sys; sys.path[:0] = sys.argv[1:]\n{LIST_MODELS}"
    assert run_isolated(program, linkless, *site_packages()).split() == list_models()


@pytest.fixture(scope="module")
def base_site(tmp_path_factory, setup) -> Path:
    """A site-packages with what the base install requires, and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    waiting = setup["options"]["install_requires"].split()
    seen: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        waiting += distribution.requires or []
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(distribution.locate_file(top))
    return folder


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    model_files.write(seeded_model(SMALL, 3), path, "safetensors")
    return path


DETECT = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from facemask_zoo import Detector, FrameworkNotInstalledError, list_frameworks
def run(model):
    detector = Detector.load(model)
    return detector.framework, len(detector.detect(sys.argv[3]))
def is_refused(row):
    try:
        row.backend()
    except FrameworkNotInstalledError:
        return True
    return False
refused = [row.name for row in list_frameworks() if is_refused(row)]
print(json.dumps([refused, [run(model) for model in sys.argv[4:]]]))
"""


def detect_on_base(base_site: Path, picture: Path, *models: object) -> list[tuple[str, int]]:
    refused, found = json.loads(run_isolated(DETECT, ROOT, base_site, picture, *models))
    assert set(refused) == FRAMEWORKS.keys() - {"onnx"}
    return [tuple(each) for each in found]


def test_the_base_install_runs_what_ships_and_what_users_bring(
    base_site, own_weights, demo_picture
):
    (_, own), shipped = detect_on_base(base_site, demo_picture, own_weights, "zoo-260")
    assert own > 0
    assert shipped == ("onnx", 2)


@pytest.mark.shared
def test_the_base_install_runs_every_model(base_site, demo_picture, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEMASK_ZOO_CACHE", str(tmp_path))
    found = detect_on_base(base_site, demo_picture, *list_models(DETECTION))
    assert found == [("onnx", 2)] * len(list_models(DETECTION))


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_no_extra_asks_for_numpy_1_where_mxnet_cannot_be(setup, version):
    lines = [line for text in setup["options.extras_require"].values() for line in text.split("\n")]
    requirements = [Requirement(line) for line in lines if line]
    environment = {"python_version": version, "extra": ""}
    asked = [each for each in requirements if not each.marker or each.marker.evaluate(environment)]
    assert "mxnet" not in {each.name for each in asked}
    for each in asked:
        assert each.name != "numpy" or each.specifier.contains("2.3"), str(each)


def test_every_framework_has_an_extra_of_its_name(setup):
    assert set(FRAMEWORKS) <= set(setup["options.extras_require"])


def test_every_release_of_python_can_install_what_is_pinned():
    """Packages may ask for a bug fix release of Python that systems do not have."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): pin.specifier for pin in pins}
    first = f"{sys.version_info.major}.{sys.version_info.minor}.0"
    refused = []
    for each in metadata.distributions():
        specifier = pinned.get(canonicalize_name(each.metadata["Name"]))
        if specifier is None or each.version.partition("+")[0] not in specifier:
            continue
        if first not in SpecifierSet(each.metadata.get("Requires-Python") or ""):
            refused.append(f"{each.metadata['Name']} {each.version}")
    assert not refused
