"""Constants that a small file computes of others: refused before they take memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from attacks.guarded import assert_refused
from onnx import TensorProto, helper, numpy_helper

from facemask_zoo import cli, model_files
from facemask_zoo.converters.formats import tensorflow
from facemask_zoo.converters.protobuf_schema import load, serialize

_MESSAGE = "Constants that the file computes"
_SCHEMA = load("tensorflow")


def onnx_file(folder, nodes, values, size=(3, 8, 8)):
    """A network of one step, and constants beside it."""
    shape = ["N", *size]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(each, name) for name, each in values.items()],
    )
    path = folder / "constants.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def repeated(kind, inputs, **attributes):
    return [helper.make_node(kind, inputs, [f"a{n}"], **attributes) for n in range(1000)]


def doubled():
    names = ["w", *(f"a{n}" for n in range(26))]
    return [
        helper.make_node("Concat", [name] * 2, [after], axis=0)
        for name, after in itertools.pairwise(names)
    ]


_TURNED = [helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0])]


@pytest.mark.parametrize(
    ("nodes", "values"),
    [
        (doubled(), {"w": np.zeros(8, np.float32)}),
        (repeated("Cast", ["w"], to=TensorProto.DOUBLE), {"w": np.zeros(1 << 19, np.int8)}),
        (repeated("Concat", ["w"], axis=0), {"w": np.zeros(1 << 18, np.float32)}),
        (repeated("Gather", ["w", "i"]), {k: np.zeros(1 << 17, np.int64) for k in "wi"}),
        (
            [*_TURNED, *repeated("Reshape", ["t", "s"])],
            {"w": np.zeros((512, 512), np.float32), "s": np.array([-1])},
        ),
    ],
    ids=["doubled", "cast", "copied", "gathered", "reshaped"],
)
def test_onnx(nodes, values, tmp_path):
    assert_refused(onnx_file(tmp_path, nodes, values), _MESSAGE)


def test_an_onnx_shape_of_millions_of_sizes(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "w"], ["z"])]
    path = onnx_file(tmp_path, nodes, {"w": np.ones(1 << 22, np.int64)})
    assert_refused(path, "too long")


def test_constants_within_the_limit_are_read(tmp_path):
    nodes = repeated("Cast", ["w"], to=TensorProto.DOUBLE)
    program = model_files.read(onnx_file(tmp_path, nodes, {"w": np.zeros(64, np.int8)})).program
    assert [each.kind for each in program.graph.operations] == ["Relu"]


def node_def(name, kind, inputs=(), **attributes):
    node = _SCHEMA["NodeDef"](name=name, op=kind, input=list(inputs))
    for key, value in attributes.items():
        node.attr.add(key=key, value=_SCHEMA["Value"](**value))
    return node


def placeholder():
    sizes = [_SCHEMA["Dimension"](size=size) for size in (-1, 8, 8, 3)]
    shape = _SCHEMA["Shape"](dim=sizes)
    return node_def("x", "Placeholder", dtype={"type": 1}, shape={"shape": shape})


@pytest.mark.parametrize(
    ("kind", "inputs", "more"),
    [
        ("Cast", ["c"], {"DstT": {"type": 1}}),
        ("ConcatV2", ["c", "zero"], {}),
        ("GatherV2", ["c", "c"], {}),
        ("Neg", ["c"], {}),
        ("Sqrt", ["c"], {}),
        ("Mul", ["c", "c"], {}),
    ],
)
def test_tensorflow(kind, inputs, more, tmp_path):
    constant = tensorflow.constant_node("c", np.zeros(1 << 20, np.int32))
    zero = tensorflow.constant_node("zero", np.zeros((), np.int32))
    nodes = [placeholder(), constant, zero, node_def("y", "Relu", ["x"])]
    nodes += [node_def(f"k{n}", kind, inputs, **more) for n in range(200)]
    path = tmp_path / "constants.pb"
    path.write_bytes(serialize(_SCHEMA["GraphDef"](node=nodes)))
    assert_refused(path, _MESSAGE)


def test_tensorflow_that_copies_what_is_turned(tmp_path):
    nodes = [
        placeholder(),
        tensorflow.constant_node("c", np.zeros((1024, 1024), np.float32)),
        tensorflow.constant_node("order", np.array([1, 0])),
        tensorflow.constant_node("shape", np.array([-1])),
        node_def("t", "Transpose", ["c", "order"]),
        node_def("y", "Relu", ["x"]),
        *(node_def(f"k{n}", "Reshape", ["t", "shape"]) for n in range(200)),
    ]
    path = tmp_path / "constants.pb"
    path.write_bytes(serialize(_SCHEMA["GraphDef"](node=nodes)))
    assert_refused(path, _MESSAGE)


def test_a_function_that_is_called_often(tmp_path):
    """Each call brings the constants of the function with it."""
    function = _SCHEMA["Function"](
        node_def=[
            tensorflow.constant_node("c", np.zeros(1 << 18, np.float32)),
            node_def("sum", "AddV2", ["a", "c:output:0"]),
        ]
    )
    function.signature.name = "f"
    function.signature.input_arg.add(name="a")
    function.signature.output_arg.add(name="r")
    function.ret.add(key="r", value="sum:z:0")
    saved = _SCHEMA["SavedModel"]()
    meta = saved.meta_graphs.add()
    meta.graph_def.library.function.append(function)
    call = {"f": {"func": _SCHEMA["Call"](name="f")}}
    names = ["x", *(f"k{n}" for n in range(200))]
    pairs = itertools.pairwise(names)
    calls = [node_def(after, "PartitionedCall", [name], **call) for name, after in pairs]
    meta.graph_def.node.extend([placeholder(), *calls])
    signature = meta.signature_def.add(key="serving_default").value
    signature.inputs.add(key="x").value.name = "x:0"
    signature.outputs.add(key="y").value.name = f"{names[-1]}:0"
    (tmp_path / "saved_model.pb").write_bytes(serialize(saved))
    assert_refused(tmp_path, _MESSAGE)


def test_tflite(tmp_path, need):
    """One tensor in half precision that is made single a hundred times."""
    need("tflite")
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kinds, codes = schema.TensorType, schema.BuiltinOperator
    file = schema.ModelT()
    file.version = 3
    file.buffers = [schema.BufferT(), schema.BufferT()]
    file.buffers[1].data = np.zeros(1 << 20, np.uint8)
    file.operatorCodes = []
    for code in (codes.DEQUANTIZE, codes.RELU):
        file.operatorCodes.append(schema.OperatorCodeT())
        file.operatorCodes[-1].builtinCode = code
    graph = schema.SubGraphT()
    shapes = [([1, 8, 8, 3], kinds.FLOAT32, 0)] * 2 + [([1 << 19], kinds.FLOAT16, 1)]
    shapes += [([1 << 19], kinds.FLOAT32, 0)] * 100
    graph.tensors, graph.operators = [], []
    for number, (shape, kind, buffer) in enumerate(shapes):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = f"t{number}", shape, kind, buffer
        graph.tensors.append(tensor)
    for code, source, target in [*((0, 2, 3 + n) for n in range(100)), (1, 0, 1)]:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, [source], [target]
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [1]
    file.subgraphs = [graph]
    builder = flatbuffers.Builder()
    builder.Finish(file.Pack(builder), b"TFL3")
    path = tmp_path / "constants.tflite"
    path.write_bytes(builder.Output())
    assert_refused(path, _MESSAGE)


def test_a_small_file_of_a_large_network_is_not_converted(tmp_path, capsys):
    """A hundred bytes, of which the reference would make gigabytes."""
    path = onnx_file(tmp_path, [], {}, (3, 6000, 6000))
    assert cli.main(["convert", str(path), str(tmp_path / "y.tflite")]) == 1
    assert "Relu 'y'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
