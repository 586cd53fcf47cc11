from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import ssd_reference as reference
import torch
from seeded import SMALL, seeded_batch, seeded_model

from facemask_zoo.errors import WeightsError
from facemask_zoo.training.model import TrainableSSD
from facemask_zoo.training.normalised import NormalisedConvolution


def outputs(model: TrainableSSD, batch: np.ndarray) -> list[np.ndarray]:
    model.eval()
    with torch.no_grad():
        loc, logits = model(torch.from_numpy(batch))
    return [loc.numpy(), logits.sigmoid().numpy()]


def trained_model() -> TrainableSSD:
    """A model whose normalisations have seen pictures and have weights of their own."""
    torch.manual_seed(0)
    model = TrainableSSD(SMALL)
    for module in model.modules():
        if isinstance(module, NormalisedConvolution):
            torch.nn.init.uniform_(module.norm.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.norm.bias, -0.5, 0.5)
    with torch.no_grad():
        model.train()(torch.from_numpy(seeded_batch(SMALL, 4)))
    return model


def test_the_folded_network_computes_the_same():
    model, batch = trained_model(), seeded_batch(SMALL, 2, seed=1)
    expected = reference.forward(SMALL, model.export(), batch)
    for found, wanted in zip(outputs(model, batch), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_export_gives_exactly_the_canonical_tensors():
    tensors = trained_model().export()
    assert {name: array.shape for name, array in tensors.items()} == SMALL.tensor_shapes
    assert all(array.dtype == np.float32 for array in tensors.values())


def test_the_score_shift_moves_every_score_alike():
    model, batch = trained_model(), seeded_batch(SMALL, 1)
    loc, scores = outputs(model, batch)
    shifted = reference.forward(SMALL, model.export(score_shift=0.5), batch)
    np.testing.assert_allclose(shifted[0], loc, atol=1e-5)
    logits = np.log(shifted[1] / (1 - shifted[1]))
    np.testing.assert_allclose(logits, np.log(scores / (1 - scores)) + 0.5, atol=1e-4)


def test_export_zeroes_dust_and_refuses_divergence():
    model = trained_model()
    head = model.get_submodule("loc_0_conv")
    with torch.no_grad():
        head.weight[0] = 1e-30
    assert (model.export()["loc_0_conv.weight"][0] == 0).all()
    with torch.no_grad():
        head.weight[0] = float("nan")
    with pytest.raises(WeightsError, match=r"loc_0_conv\.weight is not finite"):
        model.export()


def test_starting_from_weights_changes_nothing_and_neither_does_calibration():
    source, batch = seeded_model(SMALL, 0), seeded_batch(SMALL, 2)
    model = TrainableSSD(SMALL)
    model.start_from(source.tensors, SMALL.classes)
    before = outputs(model, batch)
    expected = reference.forward(SMALL, source.tensors, batch)
    np.testing.assert_allclose(before[0], expected[0], atol=1e-4)
    model.calibrate([torch.from_numpy(seeded_batch(SMALL, 4, seed=2))])
    for found, wanted in zip(outputs(model, batch), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_after_calibration_training_mode_computes_nearly_the_same():
    model = TrainableSSD(SMALL)
    model.start_from(seeded_model(SMALL, 0).tensors, SMALL.classes)
    batch = seeded_batch(SMALL, 4)
    before = outputs(model, batch)
    model.calibrate([torch.from_numpy(batch)])
    with torch.no_grad():
        loc, _ = model.train()(torch.from_numpy(batch))
    np.testing.assert_allclose(loc.numpy(), before[0], atol=1e-3)


def test_classes_are_matched_by_label():
    source = seeded_model(SMALL, 0)
    network = dataclasses.replace(SMALL, classes=("no_mask", "visor"))
    model, batch = TrainableSSD(network), seeded_batch(SMALL, 2)
    model.start_from(source.tensors, SMALL.classes)
    expected = reference.forward(SMALL, source.tensors, batch)[1]
    found = outputs(model, batch)[1]
    np.testing.assert_allclose(found[..., 0], expected[..., 1], atol=1e-4)
    assert found[..., 1].max() < 0.5  # the new class starts from scratch


def test_other_layers_are_refused():
    other = dataclasses.replace(
        SMALL, stages=(*SMALL.stages[:-1], dataclasses.replace(SMALL.stages[-1], filters=7))
    )
    with pytest.raises(WeightsError, match="expected shape"):
        TrainableSSD(other).start_from(seeded_model(SMALL, 0).tensors, SMALL.classes)
    with pytest.raises(WeightsError, match=r"no conv2d_0\.weight"):
        TrainableSSD(SMALL).start_from({}, SMALL.classes)
