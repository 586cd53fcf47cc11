"""Core ML runs on Apple's systems only; here the written program is interpreted in NumPy."""

from __future__ import annotations

import needs
import numpy as np
import pytest
from seeded import NETWORKS, random_network, seeded_batch, seeded_model

from facemask_zoo import model_files
from facemask_zoo.cards import ModelCard
from facemask_zoo.ssd import reference

Program = needs.module("facemask_zoo.converters.coreml_program").Program


@pytest.mark.parametrize("seed", range(2))
def test_the_saved_program_computes_the_network(seed, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(seed)), seed)
    path = tmp_path / "modèle.mlpackage"
    model_files.write(model, path, "coreml")
    batch = seeded_batch(model.card.network, 2)
    loc, scores = Program(path).run(batch)
    expected = reference.forward(model.card.network, model.tensors, batch)
    np.testing.assert_allclose(loc, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-6)


def test_the_description_names_inputs_outputs_and_card(tmp_path):
    model = seeded_model(NETWORKS["small"], 1)
    model_files.write(model, tmp_path / "model.mlpackage", "coreml")
    description = Program(tmp_path / "model.mlpackage").spec.description
    (image,) = description.input
    assert image.name == "data"
    assert list(image.type.multiArrayType.shape) == [1, 3, 97, 97]
    batch = image.type.multiArrayType.shapeRange.sizeRanges[0]
    assert (batch.lowerBound, batch.upperBound) == (1, 64)
    assert [output.name for output in description.output] == [
        "loc_branch_concat",
        "cls_branch_concat",
    ]
    text = description.metadata.userDefined["facemask_zoo.card"]
    assert ModelCard.from_json(text) == model.card.portable()
