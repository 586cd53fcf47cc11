from __future__ import annotations

from facemask_zoo.graph import operations as ops
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.matching import match


def rows_of(height: int, *, transposed: bool):
    b = GraphBuilder("image", (4, height, 1))
    x = b.add(ops.Relu, "relu", "image")
    if transposed:
        x = b.add(ops.Transpose, "last", x, order=(0, 2, 3, 1))
    rows = b.add(ops.Reshape, "rows", x, target=(2 * height, 2))
    return b.finish(b.add(ops.Softmax, "result", rows, axis=2))


def test_a_transposition_that_moves_one_cell_is_a_reshape():
    assert match(rows_of(1, transposed=False), rows_of(1, transposed=True)) is not None
    assert match(rows_of(1, transposed=True), rows_of(1, transposed=False)) is not None


def test_one_that_moves_more_is_not():
    assert match(rows_of(2, transposed=False), rows_of(2, transposed=True)) is None


def gated(*, gate_first: bool):
    b = GraphBuilder("image", (4, 6, 6))
    gate = b.add(ops.Sigmoid, "gate", b.add(ops.GlobalAveragePool, "mean", "image"))
    inputs = (gate, "image") if gate_first else ("image", gate)
    return b.finish(b.add(ops.Multiply, "result", *inputs))


def test_a_product_is_the_same_either_way_round():
    assert match(gated(gate_first=True), gated(gate_first=False)) is not None
    assert match(gated(gate_first=False), gated(gate_first=True)) is not None
