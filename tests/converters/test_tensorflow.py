from __future__ import annotations

import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import NETWORKS, seeded_batch, seeded_model, signature

from facemask_zoo import WeightsError, model_files
from facemask_zoo.backends import Options
from facemask_zoo.model import Model
from facemask_zoo.ssd import Level, Network, Stage

FORMAT = "tensorflow"
LOC, SCORES = "loc_branch_concat", "cls_branch_concat"
ONE_LEVEL = Network(16, ("mask",), (Stage(3, pool=False),), (Level(0, (0.1, 0.2), (1.0,), 2, 2),))
NETWORKS_AND_ONE = {**NETWORKS, "one level": ONE_LEVEL}


@pytest.fixture
def tf():
    return needs.framework("tensorflow").tf


@pytest.fixture
def backend(tf):
    from facemask_zoo.backends.tensorflow import TensorFlowBackend

    return TensorFlowBackend


def assert_outputs(outputs, model: Model, batch) -> None:
    loc, scores = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(outputs[LOC], loc, rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs[SCORES], scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS_AND_ONE)
@pytest.mark.parametrize("kind", ["tensorflow", "saved_model"])
def test_tensorflow_runs_what_was_written(kind, name, backend, tmp_path):
    model = seeded_model(NETWORKS_AND_ONE[name], seed=22)
    path = tmp_path / "model"
    model_files.write(model, path, kind)
    batch = seeded_batch(model.card.network, 2)
    assert_outputs(
        backend(path, signature(model.card.network), Options()).forward(batch), model, batch
    )


def test_tensorflow_writes_the_graph_again_and_the_card_survives(
    model, written, tf, tmp_path, assert_same
):
    graph = tf.Graph()
    with graph.as_default():
        definition = tf.compat.v1.GraphDef.FromString(written.read_bytes())
        tf.graph_util.import_graph_def(definition, name="")
    tf.io.write_graph(graph, str(tmp_path), "again.pb", as_text=False)
    assert_same(model_files.read(tmp_path / "again.pb"), model)


def test_constants_that_tensorflow_shortened_are_read(model, written, tf, tmp_path):
    """A tail that repeats one value may be left out; so may all but one value."""
    definition = tf.compat.v1.GraphDef.FromString(written.read_bytes())
    expected = dict(model.tensors)
    for node in definition.node:
        tensor = node.attr["value"].tensor
        if node.name == "conv2d_0.bias":
            tensor.ClearField("tensor_content")
            tensor.float_val.extend([1.0, 2.0])
            expected["conv2d_0.bias"] = np.array([1, 2, 2, 2, 2], np.float32)
        if node.name == "conv2d_1.weight":
            tensor.ClearField("tensor_content")
            tensor.float_val.append(0.5)
            expected["conv2d_1.weight"] = np.full_like(expected["conv2d_1.weight"], 0.5)
    (tmp_path / "short.pb").write_bytes(definition.SerializeToString())
    assert model_files.read(tmp_path / "short.pb").digest == Model(model.card, expected).digest


def test_a_file_without_a_card_is_known_by_its_layers(tf, tmp_path):
    model = seeded_model(NETWORKS["full"], seed=23)
    path = tmp_path / "bare.pb"
    model_files.write(model, path, "tensorflow")
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    del definition.node[-1]
    path.write_bytes(definition.SerializeToString())
    read = model_files.read(path)
    assert (read.card.name, read.card.network) == ("bare", model.card.network)
    assert read.digest == model.digest


def test_saved_model_names_its_outputs_and_carries_the_card(model, tf, tmp_path):
    path = tmp_path / "saved"
    model_files.write(model, path, "saved_model")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    batch = seeded_batch(model.card.network, 3)
    outputs = serve(data=tf.constant(batch.transpose(0, 2, 3, 1)))
    assert set(outputs) == {LOC, SCORES}
    assert_outputs(outputs, model, batch)
    card = (path / "assets.extra" / "facemask_zoo.card.json").read_text()
    assert card == model.card.portable().to_json()


@pytest.mark.parametrize("kind", ["tensorflow", "saved_model"])
def test_a_file_of_another_size_is_refused(kind, backend, tmp_path):
    model_files.write(seeded_model(NETWORKS["small"], seed=24), tmp_path / "model", kind)
    other = NETWORKS["small"].with_input_size(64)
    with pytest.raises(WeightsError):
        backend(tmp_path / "model", signature(other), Options()).forward(seeded_batch(other, 1))


@pytest.mark.parametrize("operation", ["ReadFile", "WriteFile", "PyFunc", "RestoreV2"])
def test_operations_that_reach_outside_are_refused(operation, written, tf, backend, tmp_path):
    definition = tf.compat.v1.GraphDef.FromString(written.read_bytes())
    definition.node.add(name="hostile", op=operation)
    path = tmp_path / "hostile.pb"
    path.write_bytes(definition.SerializeToString())
    with pytest.raises(WeightsError, match=operation):
        model_files.read(path)
    with pytest.raises(WeightsError, match=operation):
        backend(path, signature(NETWORKS["small"]), Options())


def test_a_function_library_is_refused(written, tf, backend, tmp_path):
    definition = tf.compat.v1.GraphDef.FromString(written.read_bytes())
    definition.library.function.add().signature.name = "hostile"
    path = tmp_path / "hostile.pb"
    path.write_bytes(definition.SerializeToString())
    with pytest.raises(WeightsError, match="functions"):
        backend(path, signature(NETWORKS["small"]), Options())


def test_claims_of_terabytes_take_no_memory(written, tf, tmp_path):
    definition = tf.compat.v1.GraphDef.FromString(written.read_bytes())
    for node in definition.node:
        if node.name == "conv2d_0.weight":
            tensor = node.attr["value"].tensor
            tensor.ClearField("tensor_content")
            tensor.float_val.append(1.0)
            for dimension in tensor.tensor_shape.dim:
                dimension.size = 1 << 30
    (tmp_path / "huge.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(WeightsError, match="take over"):
        model_files.read(tmp_path / "huge.pb")


@pytest.mark.shared
def test_aizoos_file_holds_the_tensors_of_the_pickle(shared):
    published = model_files.read(shared / "aizoo" / "face_mask_detection.pb")
    folded = model_files.read(shared / "aizoo" / "face_mask_detection.pth")
    assert published.card.network == folded.card.network
    assert published.digest == folded.digest


@pytest.mark.shared
def test_the_backend_runs_aizoos_file_as_it_is(shared, backend):
    path = shared / "aizoo" / "face_mask_detection.pb"
    model = model_files.read(path)
    batch = seeded_batch(model.card.network, 2)
    assert_outputs(
        backend(path, signature(model.card.network), Options()).forward(batch), model, batch
    )
