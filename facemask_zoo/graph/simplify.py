"""Exact simplifications: normalisation and padding folded, empty steps removed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.graph import Graph, Names
from facemask_zoo.graph.operations import (
    BatchNorm,
    Convolution,
    Linear,
    Operation,
    Pad,
    Reshape,
    Transpose,
)
from facemask_zoo.graph.program import Program

Array = NDArray[np.floating[Any]]

_NORM_PARTS = ("gamma", "beta", "mean", "variance")


def simplify(program: Program) -> Program:
    """Fold what can be folded, in one pass.

    Batch normalisation goes into the convolution or linear layer before it, and becomes a depthwise
    1 x 1 convolution where there is none (on the shape of a feature map, where it sees none); zero
    padding goes into the convolution after it; steps that change nothing go, and transpositions or
    reshapes that follow each other become one. What the graph computes stays the same, up to the
    rounding of the folded weights; names of outputs stay, too.
    """
    return _Simplifier(program).run()


def fold_batch_norm(
    weight: Array, bias: Array | None, norm: Mapping[str, Array], epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold in double precision and round once.

    Args:
        weight: (out, ...) weight of the layer before.
        bias: (out,) its bias; None for zeros.
        norm: ``gamma``, ``beta``, ``mean`` and ``variance``, (out,) each.
        epsilon: Added to the variance, in single precision: a text that says 0.001 means the
            number that the framework computes with.

    Returns:
        Weight and bias of the layer that does both, float32.
    """
    gamma, beta, mean, variance = (np.asarray(norm[part], np.float64) for part in _NORM_PARTS)
    with np.errstate(all="ignore"):  # a program refuses what is not finite
        scale = gamma / np.sqrt(variance + np.float64(np.float32(epsilon)))
        folded = weight.astype(np.float64) * scale.reshape(-1, *[1] * (weight.ndim - 1))
        shift = mean if bias is None else mean - bias.astype(np.float64)
        return folded.astype(np.float32), (beta - shift * scale).astype(np.float32)


class _Simplifier:
    """Builds the graph anew; each rule looks at what has been built before its operation.

    A rule returns the name of the value that takes the operation's place; None to keep it as it is.
    """

    def __init__(self, program: Program) -> None:
        self._old = program.graph
        self._card = program.card
        self._tensors = dict(program.tensors)
        self._new = GraphBuilder(program.graph.input, program.graph.input_shape)
        self._made: dict[str, Operation] = {}
        self._names = Names()
        for name in program.graph.shapes:
            self._names.fresh(name)
        self._place = {program.graph.input: program.graph.input}

    def run(self) -> Program:
        """The simplified program."""
        for operation in self._old.operations:
            inputs = tuple(self._place[name] for name in operation.inputs)
            moved = dataclasses.replace(operation, inputs=inputs)
            rule = _RULES.get(type(operation))
            kept = rule(self, moved) if rule else None
            self._place[operation.name] = kept if kept is not None else self._add(moved)
        graph = self._named(self._new.finish(*(self._place[name] for name in self._old.outputs)))
        return Program(graph, {n: self._tensors[n] for n in graph.tensor_shapes}, self._card)

    def batch_norm(self, norm: BatchNorm) -> str | None:
        """Into the layer before it, or a depthwise convolution of its own."""
        before = self._made.get(norm.inputs[0])
        values = {part: self._tensors.pop(f"{norm.name}.{part}") for part in _NORM_PARTS}
        if isinstance(before, Convolution | Linear) and self._is_alone(norm):
            names = (f"{before.name}.weight", f"{before.name}.bias")
            weight, bias = (self._tensors[name] for name in names)
            # Of rows of vectors, the rows are normalised, and not the features of the layer.
            rows = isinstance(before, Linear) and len(self._new.shapes[before.name]) > 1
            if not rows and weight.shape[:1] == values["gamma"].shape:
                folded = fold_batch_norm(weight, bias if bias.any() else None, values, norm.epsilon)
                self._tensors.update(zip(names, folded, strict=True))
                return before.name
        (source,) = norm.inputs
        shape = self._new.shapes[source]
        if len(shape) == 3:
            return self._scaled(norm.name, source, values, norm.epsilon)
        target = (shape[0], math.prod(shape[1:]), 1)
        name = self._names.fresh(f"{norm.name}_map")
        cells = self._add(Reshape(name=name, inputs=(source,), target=target))
        name = self._names.fresh(f"{norm.name}_scaled")
        scaled = self._scaled(name, cells, values, norm.epsilon)
        return self._add(Reshape(name=norm.name, inputs=(scaled,), target=shape))

    def _scaled(self, name: str, source: str, norm: Mapping[str, Array], epsilon: float) -> str:
        """A normalisation of a feature map as a depthwise convolution."""
        channels = self._new.shapes[source][0]
        ones = np.ones((channels, 1, 1, 1), np.float32)
        weight, bias = fold_batch_norm(ones, None, norm, epsilon)
        self._tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
        return self._add(
            Convolution(
                name=name, inputs=(source,), kernel=(1, 1), filters=channels, groups=channels
            )
        )

    def convolution(self, convolution: Convolution) -> str | None:
        """Takes in the zero padding before it."""
        before = self._made.get(convolution.inputs[0])
        if not isinstance(before, Pad) or any(before.channels):
            return None
        both = zip(convolution.padding, before.padding, strict=True)
        top, left, bottom, right = (mine + theirs for mine, theirs in both)
        return self._add(
            dataclasses.replace(
                convolution, inputs=before.inputs, padding=(top, left, bottom, right)
            )
        )

    def reshape(self, reshape: Reshape) -> str | None:
        """One reshape in place of two, and none where the shape is there already."""
        before = self._made.get(reshape.inputs[0])
        source = before.inputs[0] if isinstance(before, Reshape) else reshape.inputs[0]
        if self._new.shapes[source] == reshape.target:
            return self._alias(reshape, source)
        return self._add(dataclasses.replace(reshape, inputs=(source,)))

    def transpose(self, transpose: Transpose) -> str | None:
        """One transposition in place of two, and none where nothing moves."""
        before = self._made.get(transpose.inputs[0])
        source, order = transpose.inputs[0], transpose.order
        if isinstance(before, Transpose):
            source, order = before.inputs[0], tuple(before.order[axis] for axis in order)
        if order == tuple(range(len(order))):
            return self._alias(transpose, source)
        return self._add(dataclasses.replace(transpose, inputs=(source,), order=order))

    def _alias(self, operation: Operation, source: str) -> str | None:
        """The source itself, unless the operation is an output that could not have its name."""
        taken = source == self._new.input or source in self._old.outputs
        return None if operation.name in self._old.outputs and taken else source

    def _is_alone(self, operation: Operation) -> bool:
        """Whether nothing else sees what the operation sees."""
        name = self._old.by_name[operation.name].inputs[0]
        return self._old.sole_consumer(name) is not None and self._place[name] == name

    def _add(self, operation: Operation) -> str:
        fields = {
            field.name: getattr(operation, field.name)
            for field in dataclasses.fields(operation)
            if field.name not in ("name", "inputs")
        }
        self._made[operation.name] = operation
        return self._new.add(type(operation), operation.name, *operation.inputs, **fields)

    def _named(self, graph: Graph) -> Graph:
        """The graph with the old names of its outputs."""
        pairs = {self._place[name]: name for name in self._old.outputs}
        names = {new: old for new, old in pairs.items() if new != old}
        for new, old in names.items():
            for part in self._new_parts(new):
                self._tensors[f"{old}.{part}"] = self._tensors.pop(f"{new}.{part}")
        return graph.renamed(names)

    def _new_parts(self, name: str) -> list[str]:
        operation = self._made[name]
        shapes = [self._new.shapes[each] for each in operation.inputs]
        return list(operation.parameters(shapes))


_RULES: dict[type[Operation], Callable[[_Simplifier, Any], str | None]] = {
    BatchNorm: _Simplifier.batch_norm,
    Convolution: _Simplifier.convolution,
    Reshape: _Simplifier.reshape,
    Transpose: _Simplifier.transpose,
}
