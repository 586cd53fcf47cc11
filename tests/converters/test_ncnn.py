from __future__ import annotations

import needs
import numpy as np
import pytest
import ssd_reference as reference
from seeded import NETWORKS, random_network, seeded_batch, seeded_model, signature

from facemask_zoo import model_files
from facemask_zoo.backends import Options
from facemask_zoo.cards import ModelCard


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_computes_the_network(seed, tmp_path):
    backend = needs.framework("ncnn").NcnnBackend
    model = seeded_model(random_network(np.random.default_rng(seed)), seed)
    network = model.card.network
    path = tmp_path / "modèle.param"
    model_files.write(model, path, "ncnn")
    batch = seeded_batch(network, 2)
    loc, scores = backend(path, signature(network), Options(threads=1)).forward(batch).values()
    expected = reference.forward(network, model.tensors, batch)
    np.testing.assert_allclose(loc, expected[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-5)


def test_the_files_are_as_ncnn_describes_them(tmp_path):
    model = seeded_model(NETWORKS["small"], 1)
    model_files.write(model, tmp_path / "model.param", "ncnn")
    magic, counts, *lines = (tmp_path / "model.param").read_text().splitlines()
    *layers, card = lines
    assert magic == "7767517"
    written, read = [], []
    for line in layers:
        _, _, inputs, outputs, *words = line.split()
        read += words[: int(inputs)]
        written += words[int(inputs) : int(inputs) + int(outputs)]
    assert counts == f"{len(layers)} {len(written)}"
    assert len(set(written)) == len(written)
    assert len(set(read)) == len(read), "a blob has two readers"
    assert set(written) - set(read) == {"loc_branch_concat", "cls_branch_concat"}
    text = card.removeprefix("# facemask_zoo.card: ")
    assert ModelCard.from_json(text) == model.card.portable()


def test_every_weight_is_in_the_binary(tmp_path):
    model = seeded_model(NETWORKS["small"], 1)
    model_files.write(model, tmp_path / "model.param", "ncnn")
    words = np.frombuffer((tmp_path / "model.bin").read_bytes(), "<u4")
    offset = 0
    for layer in model.card.network.convolutions:
        assert words[offset] == 0, "the flag of plain float32"
        offset += 1
        for name in (layer.weight_name, layer.bias_name):
            values = model.tensors[name]
            stored = words[offset : offset + values.size].view("<f4").reshape(values.shape)
            np.testing.assert_array_equal(stored, values)
            offset += values.size
    assert offset == len(words)
