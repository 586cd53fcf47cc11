from __future__ import annotations

import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import NETWORKS, random_network, seeded_batch, seeded_model

from facemask_zoo import model_files
from facemask_zoo.cards import ModelCard

openvino = needs.module("openvino")


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_computes_the_network(seed, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(seed)), seed)
    path = tmp_path / "modèle.xml"
    model_files.write(model, path, "openvino")
    assert {part.name for part in tmp_path.iterdir()} == {"modèle.xml", "modèle.bin"}
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        batch = seeded_batch(model.card.network, count)
        results = compiled({"data": batch})
        expected = reference.forward(model.card.network, model.tensors, batch)
        np.testing.assert_allclose(results["loc_branch_concat"], expected[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(results["cls_branch_concat"], expected[1], rtol=0, atol=1e-5)


def test_weights_and_card_are_in_the_file(tmp_path):
    model = seeded_model(NETWORKS["small"], 1)
    model_files.write(model, tmp_path / "model.xml", "openvino")
    graph = openvino.Core().read_model(tmp_path / "model.xml")
    text = graph.get_rt_info("facemask_zoo.card").astype(str)
    assert ModelCard.from_json(text) == model.card.portable()
    constants = {node.get_friendly_name(): node for node in graph.get_ops()}
    for name, values in model.tensors.items():
        np.testing.assert_array_equal(constants[name].data.reshape(values.shape), values)
    assert graph.input("data").partial_shape[0].is_dynamic
