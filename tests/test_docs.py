"""What docs/converting.md says is what happens: its snippets run on files that the zoo makes."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import needs
import numpy as np
import pytest
import ssd_reference as reference
from places import ROOT
from seeded import SMALL, seeded_batch, seeded_model

from facemask_zoo import model_files
from facemask_zoo.benchmarks.convert_matrix import PROVEN, WRITTEN
from facemask_zoo.converters.formats import registry
from facemask_zoo.converters.formats.registry import FORMATS
from facemask_zoo.ssd import postprocess
from facemask_zoo.ssd.postprocess import IOU

PAGE = (ROOT / "docs" / "converting.md").read_text()
SECTIONS = dict(
    re.findall(r"^### [^\n]*\(`(\w+)`\)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
)
MODEL = seeded_model(SMALL, 31)

# What a snippet imports, for where it is not installed.
NEEDS = {
    "coreml": "coremltools",
    "keras_h5": "tf_keras",
    "onnx": "onnxruntime",
    "onnx_nms": "onnxruntime",
    "caffe": "cv2",
    "pytorch": "torch",
    "saved_model": "tensorflow",
    "tflite": "ai_edge_litert",
    "tflite_nms": "ai_edge_litert",
}
BEFORE = """
import numpy as np
batch = np.load("batch.npy")
"""
AFTER = """
outputs = {name: np.asarray(value) for name, value in globals().items() if name in NAMES}
np.savez("outputs.npz", **outputs)
"""
IN_NODE = """
const fs = require("fs");
const tf = require("@tensorflow/tfjs");
const [url, shape] = [process.argv[2], JSON.parse(process.argv[3])];
const bytes = new Uint8Array(fs.readFileSync("batch.bin"));
const batch = tf.tensor(new Float32Array(bytes.buffer), shape);
(async () => {
%s
  fs.writeFileSync("loc.bin", loc.dataSync());
  fs.writeFileSync("scores.bin", scores.dataSync());
})().catch((error) => { console.error(error); process.exit(1); });
"""


def snippet(section: str, language: str = "python") -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)
    return code


def run(code: str, folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Run a snippet in a process of its own, and return some of its variables."""
    program = f"{BEFORE}\n{code}\nNAMES = {names!r}{AFTER}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    with np.load(folder / "outputs.npz") as outputs:
        return dict(outputs)


@functools.cache
def expected(count: int):
    return reference.forward(SMALL, MODEL.tensors, seeded_batch(SMALL, count))


def assert_outputs(loc, scores, count: int) -> None:
    assert loc.shape == expected(count)[0].shape
    np.testing.assert_allclose(loc, expected(count)[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores, expected(count)[1], rtol=0, atol=1e-5)


@pytest.fixture
def folder(request, tmp_path):
    """The model in the format of the test, and a batch of two."""
    row = FORMATS[request.param]
    model_files.write(MODEL, tmp_path / f"model{row.suffix}", row.name)
    np.save(tmp_path / "batch.npy", seeded_batch(SMALL, 2))
    return tmp_path


def need_package(name: str) -> None:
    needs.package(NEEDS.get(name, name))


def test_every_format_has_its_section():
    """And says what its file is called, or which format to ask for if the suffix is another's."""
    writable = [row for row in FORMATS.values() if row.writes]
    assert set(SECTIONS) == {row.name for row in writable}
    for row in writable:
        by_suffix = registry.format_for(Path(f"model{row.suffix}")) is row
        name = f"`model{row.suffix}`" if by_suffix else f"`--to {row.name}`"
        assert name in SECTIONS[row.name] or not row.suffix, row.name


RAW = [
    row.name
    for row in FORMATS.values()
    if row.writes and row.name not in ("safetensors", "onnx_nms", "tflite_nms", "tfjs", "coreml")
]


@pytest.mark.parametrize(("name", "folder"), [(n, n) for n in RAW], indirect=["folder"], ids=RAW)
def test_snippets_give_the_outputs(name, folder):
    need_package(name)
    outputs = run(snippet(name), folder, ["loc", "scores"])
    assert_outputs(outputs["loc"], outputs["scores"], 1 if name == "ncnn" else 2)


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on Apple's systems alone")
@pytest.mark.parametrize("folder", ["coreml"], indirect=True)
def test_core_ml_gives_the_outputs(folder):
    need_package("coreml")
    outputs = run(snippet("coreml"), folder, ["loc", "scores"])
    assert_outputs(outputs["loc"], outputs["scores"], 2)


@pytest.mark.parametrize("folder", ["safetensors"], indirect=True)
def test_safetensors_gives_the_tensors(folder):
    names = run(f"{snippet('safetensors')}\nglobals().update(tensors)", folder, list(MODEL.tensors))
    for name, values in MODEL.tensors.items():
        np.testing.assert_array_equal(names[name], values)


BOXES = ["onnx_nms", "tflite_nms"]


@pytest.mark.parametrize(
    ("name", "folder"), [(n, n) for n in BOXES], indirect=["folder"], ids=BOXES
)
def test_snippets_give_the_best_boxes(name, folder):
    need_package(name)
    outputs = run(snippet(name), folder, ["boxes", "scores", "class_ids", "pictures"])
    golden = postprocess(
        *(values[0] for values in expected(2)), SMALL, (1, 1), conf=MODEL.card.conf, iou=IOU
    )
    if name == "onnx_nms":
        outputs = {key: outputs[key][outputs["pictures"] == 0] for key in outputs}
    best = 5
    np.testing.assert_allclose(outputs["scores"][:best], golden[1][:best], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(outputs["class_ids"][:best], golden[2][:best])
    clipped = np.clip(outputs["boxes"][:best], 0, 1)
    np.testing.assert_allclose(clipped, golden[0][:best], rtol=0, atol=1e-4)


@pytest.mark.parametrize("folder", ["tfjs"], indirect=True)
def test_javascript_gives_the_outputs(folder):
    modules = Path(os.environ.get("NODE_PATH", folder / "nowhere")) / "@tensorflow" / "tfjs"
    if not modules.is_dir():
        pytest.skip("needs node with @tensorflow/tfjs in NODE_PATH")
    batch = seeded_batch(SMALL, 2)
    batch.tofile(folder / "batch.bin")
    (folder / "run.cjs").write_text(IN_NODE % snippet("tfjs", "js"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/model.json"
        command = ["node", "run.cjs", url, str(list(batch.shape))]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        server.shutdown()
    assert result.returncode == 0, result.stderr
    loc, scores = (np.fromfile(folder / f"{name}.bin", np.float32) for name in ("loc", "scores"))
    assert_outputs(loc.reshape(2, -1, 4), scores.reshape(2, -1, len(SMALL.classes)), 2)


def test_the_python_call_works_as_shown(tmp_path, need):
    need("onnx")
    model_files.write(MODEL, tmp_path / "model.safetensors", "safetensors")
    before = PAGE.split("## Proof")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", before, re.DOTALL | re.MULTILINE)
    np.save(tmp_path / "batch.npy", seeded_batch(SMALL, 1))
    run(code, tmp_path, [])
    assert model_files.read(tmp_path / "converted.onnx").digest == MODEL.digest


def test_the_matrix_is_of_these_formats_and_without_a_failure():
    text = (ROOT / "docs" / "conversions.md").read_text()
    header, _, *rows = [line for line in text.split("\n\n| Format")[0].splitlines() if "|" in line]
    targets = re.findall(r"`(\w+)`", header)
    assert targets == [row.name for row in FORMATS.values() if row.writes]
    sources = [re.match(r"\| `(\w+)`", row)[1] for row in rows]
    assert sources == [row.name for row in FORMATS.values() if row.reads]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")[1:]]
        assert len(cells) == len(targets)
        assert set(cells) <= {PROVEN, WRITTEN}
