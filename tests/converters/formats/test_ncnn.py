"""ncnn carries every operation, there and back, and agrees with the reference."""

from __future__ import annotations

import dataclasses
import itertools

import needs
import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo import WeightsError
from facemask_zoo.converters.formats import ncnn as format_
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.matching import renamed_like
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


def written(program, tmp_path):
    path = tmp_path / "file.param"
    format_.write(program, path)
    return path


def assert_runs(path, program, tolerance=2e-5):
    ncnn = needs.framework("ncnn").ncnn
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(path)) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    batch = seeded_batch(program.graph, 2) * 4 - 2
    for output, expected in reference.forward(program, batch).items():
        for sample, right in zip(batch, expected, strict=True):
            extractor = net.create_extractor()
            extractor.input(program.graph.input, ncnn.Mat(sample).clone())
            answer = np.array(extractor.extract(output)[1])
            assert answer.shape == right.shape
            np.testing.assert_allclose(answer, right, atol=tolerance)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    read = format_.read(written(program, tmp_path))
    assert read.card == program.card
    found = renamed_like(read, program.graph)
    assert found is not None
    assert found.digest == program.digest


@pytest.mark.parametrize("name", GRAPHS)
def test_ncnn_runs_it(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    assert_runs(written(program, tmp_path), program, 1e-4 if name == "ssd" else 2e-5)


def test_an_output_that_others_read_stays_one(tmp_path):
    b = GraphBuilder("image", (3, 4, 4))
    middle = b.add(ops.Relu, "middle", "image")
    b.add(ops.Tanh, "last", b.add(ops.Add, "sum", middle, "image"))
    program = Program(b.finish("middle", "last"), {})
    path = written(program, tmp_path)
    assert renamed_like(format_.read(path), program.graph) is not None
    assert_runs(path, program)


@pytest.mark.parametrize("order", itertools.permutations((1, 2, 3, 4)))
def test_every_order_of_four_axes(order, tmp_path):
    b = GraphBuilder("image", (6, 4, 5))
    split = b.add(ops.Reshape, "split", "image", target=(2, 3, 4, 5))
    turned = b.add(ops.Transpose, "turned", split, order=(0, *order))
    program = Program(b.finish(b.add(ops.Reshape, "flat", turned, target=(120,))), {})
    assert_runs(written(program, tmp_path), program)


# As ncnn's own converters and optimiser write layers.
STRANGER = """7767517
15 17
Input            data     0 1 data 0=17 1=20 2=3
Convolution      conv1    1 1 data conv1 0=8 1=3 3=2 4=1 5=1 6=216 9=1
Split            splits   1 2 conv1 a b
ConvolutionDepthWise dw   1 1 a dw 0=8 1=1 11=3 3=1 4=0 14=1 5=0 6=24 7=8 9=2 -23310=1,2.000000e-01
BatchNorm        bn       1 1 dw bn 0=8 1=1.0e-04
BinaryOp         half     1 1 bn half 0=2 1=1 2=0.5
BinaryOp         sum      2 1 b half sum 0=0
Pooling          pool     1 1 sum pool 0=0 1=3 2=2 3=0 5=0
Slice            cut      1 2 pool left right -23300=2,-233,-233 1=0
Scale            scale    1 1 left scaled 0=4 1=1
HardSwish        swish    1 1 right swished 0=0.2 1=0.5
Concat           joined   2 1 scaled swished joined 0=0
Pooling          mean     1 1 joined mean 0=1 4=1
InnerProduct     fc       1 1 mean fc 0=4 1=1 2=32
Softmax          prob     1 1 fc prob 0=0 1=1
"""


def stranger(tmp_path, text=STRANGER):
    rng = np.random.Generator(np.random.PCG64(6))

    def numbers(count, offset=-0.4, kind="<f4"):
        return (rng.random(count) + offset).astype(kind).tobytes()

    half = (0x01306B47).to_bytes(4, "little")
    parts = [bytes(4), numbers(216), numbers(8), half, numbers(24, kind="<f2")]
    parts += [numbers(8), numbers(8), numbers(8, 0.5), numbers(8)]
    parts += [numbers(4), numbers(4), bytes(4), numbers(32), numbers(4)]
    path = tmp_path / "net.param"
    path.write_text(text)
    path.with_suffix(".bin").write_bytes(b"".join(parts))
    return path


def test_a_strangers_net_becomes_a_graph(tmp_path):
    path = stranger(tmp_path)
    program = format_.read(path)
    assert program.graph.outputs == ("prob",)
    assert_runs(path, program)


DAMAGES = {
    "nothing": (STRANGER, ""),
    "one line": (STRANGER, "7767517\n"),
    "another number": ("7767517", "7767518"),
    "many layers": ("15 17", "99999999 17"),
    "fewer layers": ("15 17", "3 17"),
    "words for numbers": ("15 17", "x y"),
    "cycle": ("1 1 data conv1", "1 1 prob conv1"),
    "missing input": ("2 1 b half sum", "2 1 b nothing sum"),
    "no inputs": ("1 1 mean fc", "0 1 fc"),
    "one input of two": ("2 1 b half sum", "1 1 half sum"),
    "names that are not there": ("Softmax          prob     1 1", "Softmax prob 99 99"),
    "negative counts": ("1 1 mean fc", "-1 1 mean fc"),
    "two outputs of one": ("1 1 mean fc", "1 2 mean fc more"),
    "huge input": ("0=17 1=20", "0=2000000000 1=2000000000"),
    "no input size": ("0=17 1=20 2=3", ""),
    "more weights": ("6=216", "6=999999999999"),
    "negative weights": ("6=216", "6=-216"),
    "other weights": ("6=216", "6=215"),
    "fewer weights": ("0=4 1=1 2=32", "0=4 1=0 2=32"),
    "no kernel": ("0=8 1=3 3=2", "0=8 1=0 3=2"),
    "huge stride": ("1=3 3=2", "1=3 3=99999999"),
    "text": ("9=1\n", "9=one\n"),
    "a list that is longer": ("-23310=1,2", "-23310=7,2"),
    "infinite": ("0=0.2 1=0.5", "0=inf 1=0.5"),
    "axis outside": ("joined 0=0", "joined 0=9"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_nets_are_refused(what, tmp_path):
    old, new = DAMAGES[what]
    assert old in STRANGER
    with pytest.raises(WeightsError):
        format_.read(stranger(tmp_path, STRANGER.replace(old, new)))


def test_weights_of_another_length_are_refused(tmp_path):
    path = stranger(tmp_path)
    weights = path.with_suffix(".bin")
    whole = weights.read_bytes()
    for data in (whole[:-1], whole + b"\0", b""):
        weights.write_bytes(data)
        with pytest.raises(WeightsError):
            format_.read(path)
    weights.unlink()
    with pytest.raises(WeightsError):
        format_.read(path)


def test_an_unknown_layer_is_named(tmp_path):
    with pytest.raises(UnsupportedOperationError, match=r"ncnn.*LRN.*swish"):
        format_.read(stranger(tmp_path, STRANGER.replace("HardSwish ", "LRN ")))


def layer(line, shape, tmp_path):
    """A net of one layer without weights."""
    sizes = " ".join(f"{key}={size}" for key, size in enumerate(reversed(shape)))
    path = tmp_path / "net.param"
    path.write_text(f"7767517\n2 2\nInput x 0 1 x {sizes}\n{line.replace(' ', ' y 1 1 x y ', 1)}\n")
    path.with_suffix(".bin").write_bytes(b"")
    return path


LAYERS = {
    "a maximum, rounded up": ("Pooling 0=0 1=3 2=2 3=1", (3, 9, 8)),
    "a maximum with uneven padding, rounded up": (
        "Pooling 0=0 1=3 2=2 3=1 13=0 14=0 15=1",
        (3, 8, 8),
    ),
    "a mean, rounded up": ("Pooling 0=1 1=3 2=2", (3, 9, 8)),
    "a mean that counts what rounding up adds": ("Pooling 0=1 1=3 2=2 3=1 6=1", (3, 9, 8)),
    "a mean with padding that is not stated": ("Pooling 0=1 1=3 2=2 5=2", (3, 9, 8)),
    "a mean with padding at the start": ("Pooling 0=1 1=3 2=2 5=3", (3, 9, 8)),
    "a mean that counts padding that is not stated": ("Pooling 0=1 1=3 2=2 5=2 6=1", (3, 9, 8)),
    "a dropout that scales": ("Dropout 0=0.5", (2, 3, 4)),
    "the same width": ("Reshape 0=0 1=-1", (2, 3, 4)),
    "the same height": ("Reshape 0=-1 1=0", (2, 3, 4)),
    "the same height and width": ("Reshape 0=0 1=0 2=-1", (6, 4)),
    "the same width of a vector": ("Reshape 0=0 1=-1", (24,)),
    "the same channels": ("Reshape 0=-1 1=1 2=0", (2, 3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_settings_are_carried(name, tmp_path):
    path = layer(*LAYERS[name], tmp_path)
    assert_runs(path, format_.read(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Pooling 0=0 1=2 2=2 3=1", "Pooling of padding alone"),
        ("Pooling 0=0 1=2 2=3 3=1", "Pooling of padding alone"),
        ("Pooling 0=1 1=3 2=2 5=2 3=1", "half its padding"),
        ("Pooling 0=0 1=3 7=1 8=3", "number of cells"),
        ("Reshape 0=12 1=0", "Reshape"),
        ("Reshape 0=24 2=1", "Reshape"),
    ],
)
def test_what_would_come_out_otherwise_is_refused(line, message, tmp_path):
    with pytest.raises(UnsupportedOperationError, match=message):
        format_.read(layer(line, (3, 9, 8), tmp_path))
