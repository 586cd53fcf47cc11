from __future__ import annotations

import collections
import io
import pickle
import zipfile

import needs
import numpy as np
import pytest
from graphs import seeded_program
from seeded import random_network, seeded_model

from facemask_zoo import WeightsError, model_files
from facemask_zoo.converters import limits
from facemask_zoo.converters.formats import pytorch as format_module
from facemask_zoo.model import Model

FORMAT = "pytorch"


@pytest.fixture
def torch():
    return needs.module("torch")


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_loads_the_file_as_weights_only(mmap, torch, model, written):
    state = torch.load(written, weights_only=True, mmap=mmap)
    assert isinstance(state, collections.OrderedDict)
    assert list(state) == list(model.card.network.tensor_shapes)
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), model.tensors[name])
        assert not mmap or tensor.data_ptr() % 64 == 0


def test_the_module_takes_the_file_and_gives_it_back(torch, model, written, tmp_path):
    graph = needs.module("facemask_zoo.backends.torch_graph")
    module = graph.GraphModule(seeded_program(model.graph))
    module.load_state_dict(torch.load(written, weights_only=True))
    torch.save(module.state_dict(), tmp_path / "own.pt")
    tensors = converters_tensors(tmp_path / "own.pt", model, tmp_path)
    for name, values in model.tensors.items():
        np.testing.assert_array_equal(tensors[name], values)


def converters_tensors(path, model: Model, folder):
    """Read a file of torch's own, with the card of `model` put into it."""
    target = folder / "carded.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            copy.writestr(member.filename, source.read(member))
        root = source.namelist()[0].split("/")[0]
        copy.writestr(f"{root}/{format_module._CARD}", model.card.portable().to_json())
    return model_files.read(target).tensors


def test_a_checkpoint_of_parameters_in_other_layouts_is_read(torch, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(3)), 3)
    state = {}
    for name, values in model.tensors.items():
        tensor = torch.nn.Parameter(torch.from_numpy(values.copy()))
        if tensor.ndim == 4:
            tensor = tensor.to(memory_format=torch.channels_last)
        state[name] = tensor
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": state}, tmp_path / "c.pt")
    assert model_files.read(tmp_path / "c.pt").digest == model.digest


def test_unfolded_batch_norm_is_folded(torch, tmp_path):
    model = seeded_model(random_network(np.random.default_rng(4)), 4)
    state = collections.OrderedDict()
    with torch.no_grad():
        for layer in model.card.network.convolutions:
            weight, bias = (
                torch.from_numpy(model.tensors[name].copy())
                for name in (layer.weight_name, layer.bias_name)
            )
            if not layer.relu:
                state[layer.weight_name], state[layer.bias_name] = weight, bias
                continue
            norm = torch.nn.BatchNorm2d(layer.outputs, eps=1e-3)
            norm.running_var.uniform_(0.5, 2)
            norm.running_mean.uniform_(-1, 1)
            scale = torch.sqrt(norm.running_var + 1e-3)
            state[layer.weight_name] = weight * scale[:, None, None, None]
            norm.bias.copy_(bias + norm.running_mean / scale)
            for name, tensor in norm.state_dict().items():
                state[f"{layer.name}_bn.{name}"] = tensor
    torch.save(state, tmp_path / "unfolded.pt")
    read = model_files.read(tmp_path / "unfolded.pt")
    for name, values in model.tensors.items():
        np.testing.assert_allclose(read.tensors[name], values, rtol=0, atol=1e-6)


class Payload:
    def __init__(self, canary) -> None:
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


def with_pickle(written, data: bytes):
    """The same archive with another pickle."""
    content = io.BytesIO(written.read_bytes())
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(written, "w") as copy:
        for member in source.infolist():
            is_pickle = member.filename.endswith("/data.pkl")
            copy.writestr(member.filename, data if is_pickle else source.read(member))
    return written


def test_a_payload_in_the_pickle_does_not_run(written, tmp_path):
    canary = tmp_path / "canary"
    data = pickle.dumps({"conv2d_0.weight": Payload(canary)}, protocol=2)
    with pytest.raises(WeightsError, match="do not need"):
        model_files.read(with_pickle(written, data))
    assert not canary.exists()


@pytest.mark.parametrize("tree", [[], 3, None, {"a": 1}, {"state_dict": [1]}])
def test_other_pickles_are_refused(tree, written):
    with pytest.raises(WeightsError):
        model_files.read(with_pickle(written, pickle.dumps(tree, protocol=2)))


@pytest.mark.parametrize("shape", [(2**31 - 1,), (64, 1024, 1024), (3,)])
def test_storages_of_the_wrong_size_are_refused(shape, written):
    data = format_module._pickled([("conv2d_0.weight", shape)])
    with pytest.raises(WeightsError):
        model_files.read(with_pickle(written, data))


def test_many_views_of_one_storage_are_bounded(model, written, monkeypatch):
    """Each is cheap in the file and costs its full size in memory."""
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100_000)
    call = format_module._tensor("0", model.tensors["conv2d_0.weight"].shape)
    items = b"".join(format_module._text(f"a{i}.weight") + call for i in range(1000))
    data = b"\x80\x02" + format_module._EMPTY_DICT + b"(" + items + b"u."
    with pytest.raises(WeightsError, match="take over"):
        model_files.read(with_pickle(written, data))


def test_numbers_of_the_other_byte_order_are_refused(written):
    content = io.BytesIO(written.read_bytes())
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(written, "w") as copy:
        for member in source.infolist():
            is_order = member.filename.endswith("/byteorder")
            copy.writestr(member.filename, b"big" if is_order else source.read(member))
    with pytest.raises(WeightsError, match="little-endian"):
        model_files.read(written)


def test_altered_numbers_are_noticed(model, written):
    content = bytearray(written.read_bytes())
    content[content.index(model.tensors["conv2d_1.weight"].tobytes())] ^= 0x10
    written.write_bytes(content)
    with pytest.raises(WeightsError):
        model_files.read(written)


@pytest.mark.shared
def test_aizoos_module_as_a_state_dict_is_read_like_the_pickle(shared, torch, tmp_path):
    """Its tensors with their own names, batch normalisation unfolded, as many have saved them."""
    from facemask_zoo.converters.formats import aizoo_pth
    from facemask_zoo.converters.tensor_pickle import TensorView

    path = shared / "aizoo" / "face_mask_detection.pth"
    modules = aizoo_pth._modules(aizoo_pth._load_module(path.read_bytes()))
    state = {
        f"{layer}.{name}": torch.from_numpy(view.to_array())
        for layer, parameters in modules.items()
        for name, view in parameters.items()
        if isinstance(view, TensorView)
    }
    torch.save(state, tmp_path / "state.pt")
    read, expected = model_files.read(tmp_path / "state.pt"), model_files.read(path)
    assert read.card.network == expected.card.network
    for name, values in expected.tensors.items():
        np.testing.assert_allclose(read.tensors[name], values, rtol=0, atol=1e-6)
