"""SavedModels that TensorFlow wrote are read without it; hostile ones are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys

import needs
import numpy as np
import pytest
from places import ROOT
from process import run

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters.formats.tensor_bundle import TensorBundle
from facemask_zoo.converters.protobuf_schema import load
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import reference

SCHEMA = load("tensorflow")
NAMES = ("functions", "keras2")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of SavedModels, beside each what TensorFlow answers."""
    needs.package("tensorflow")
    needs.package("tf_keras")
    folder = tmp_path_factory.mktemp("saved")
    command = [sys.executable, str(ROOT / "tests" / "saved_models.py"), *NAMES]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A SavedModel to alter."""
    return shutil.copytree(saved / "functions", tmp_path / "copy")


@pytest.mark.parametrize("name", NAMES)
def test_what_tensorflow_saved_gives_its_answers(name, saved):
    model = model_files.read(saved / name)
    with np.load(saved / f"{name}.npz") as answers:
        found = reference.forward(model.program, answers["batch"])
        assert set(found) == set(answers.files) - {"batch"}
        for key, values in found.items():
            np.testing.assert_allclose(values, answers[key], atol=1e-5)
    assert model.graph.input in ("picture", "conv2d_input")


def test_tensorflow_is_not_imported(saved):
    program = (
        "import sys; from facemask_zoo import model_files; model_files.read(sys.argv[1]); "
        "assert 'tensorflow' not in sys.modules"
    )
    result = run("-c", program, saved / "functions")
    assert result.returncode == 0, result.stderr


def test_the_command_converts_it(saved, tmp_path):
    result = run("-m", "facemask_zoo", "convert", saved / "keras2", tmp_path / "model.onnx")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "model.onnx").is_file()


@pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
def test_variables_that_are_not_there_are_named(file, copy):
    (copy / "variables" / file).unlink()
    with pytest.raises(WeightsError, match=file):
        model_files.read(copy)


def test_variables_that_are_cut_off_are_refused(copy):
    data = copy / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(WeightsError, match="beyond the end"):
        model_files.read(copy)


def altered(folder, change) -> None:
    path = folder / "saved_model.pb"
    saved = SCHEMA["SavedModel"].FromString(path.read_bytes())
    change(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())


def functions_of(meta):
    return {each.signature.name: each for each in meta.graph_def.library.function}


def call(function, name: str, callee: str) -> None:
    node = function.node_def.add(name=name, op="PartitionedCall", input=["x"])
    node.attr.add(key="f", value=SCHEMA["Value"](func=SCHEMA["Call"](name=callee)))


def served(meta):
    """The signature that is read."""
    (found,) = (each.value for each in meta.signature_def if each.key == "serving_default")
    return found


def doubling(meta, names, last: str = "") -> None:
    """Functions of which each calls the next one twice."""
    library = meta.graph_def.library
    for name, callee in zip(names, [*names[1:], last], strict=True):
        function = library.function.add()
        function.signature.name = name
        function.signature.input_arg.add(name="x")
        function.signature.output_arg.add(name="y")
        function.ret.add(key="y", value="x")
        if callee:
            call(function, "left", callee)
            call(function, "right", callee)
    node = meta.graph_def.node.add(name="extra", op="PartitionedCall")
    node.input.append(served(meta).outputs[0].value.name)
    node.attr.add(key="f", value=SCHEMA["Value"](func=SCHEMA["Call"](name=names[0])))


def test_functions_that_multiply_are_refused(copy):
    altered(copy, lambda meta: doubling(meta, [f"f{index}" for index in range(30)]))
    with pytest.raises(WeightsError, match="nodes"):
        model_files.read(copy)


def test_a_function_that_calls_itself_is_refused(copy):
    altered(copy, lambda meta: doubling(meta, ["f"], last="f"))
    with pytest.raises(WeightsError, match=r"deep|nodes"):
        model_files.read(copy)


def test_two_functions_of_one_name_are_refused(copy):
    altered(copy, lambda meta: doubling(meta, ["f", "f"]))
    with pytest.raises(WeightsError, match="Two functions"):
        model_files.read(copy)


def test_a_function_that_is_missing_is_named(copy):
    def forget(meta):
        del meta.graph_def.library.function[:]

    altered(copy, forget)
    with pytest.raises(WeightsError, match="which is not there"):
        model_files.read(copy)


def test_an_operation_that_no_graph_has_is_named(copy):
    def replace(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                node.op = "ReadFile" if node.op == "Relu" else node.op

    altered(copy, replace)
    with pytest.raises(UnsupportedOperationError, match="ReadFile"):
        model_files.read(copy)


def test_a_variable_that_nothing_restores_is_named(copy):
    def forget(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                node.op = "Other" if node.op == "RestoreV2" else node.op

    altered(copy, forget)
    with pytest.raises(WeightsError, match="not restored"):
        model_files.read(copy)


def test_identities_in_a_circle_are_refused(copy):
    def turn(meta):
        name = served(meta).outputs[0].value.name.partition(":")[0]
        node = next(each for each in meta.graph_def.node if each.name == name)
        node.op = "Identity"
        del node.input[:]
        node.input.append(name)

    altered(copy, turn)
    with pytest.raises(WeightsError):
        model_files.read(copy)


def test_several_inputs_are_refused(copy):
    def add(meta):
        for each in meta.signature_def:
            each.value.inputs.add(key="second").value.name = "second:0"

    altered(copy, add)
    with pytest.raises(WeightsError, match="2 inputs"):
        model_files.read(copy)


def test_no_signature_is_refused(copy):
    def forget(meta):
        del meta.signature_def[:]

    altered(copy, forget)
    with pytest.raises(WeightsError, match="serving_default"):
        model_files.read(copy)


@pytest.mark.parametrize("keep", [0, 10, 47, 100])
def test_an_index_that_is_cut_off_is_refused(keep, copy):
    index = copy / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:keep])
    with pytest.raises(WeightsError):
        TensorBundle(copy / "variables" / "variables")


def test_a_compressed_index_is_refused(copy):
    """LevelDB's blocks say behind their end how they are compressed."""
    index = copy / "variables" / "variables.index"
    data = bytearray(index.read_bytes())
    first = data.index(b"\x00", 0)  # any byte: the one behind the first block is found by trying
    for place in range(first, len(data) - 48):
        tried = bytearray(data)
        tried[place] = 1
        index.write_bytes(tried)
        try:
            TensorBundle(copy / "variables" / "variables")
        except WeightsError as error:
            if "compressed" in str(error):
                return
    pytest.fail("no byte of the index says that it is compressed")
