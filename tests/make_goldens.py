"""Write ``tests/goldens``: outputs of the float64 reference, and of AIZOO's arithmetic.

Usage: python tests/make_goldens.py
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import aizoo
import numpy as np
import safetensors.numpy
import ssd_reference as reference
from landmark_networks import SMALL as LANDMARK_NETWORK
from seeded import NETWORKS, seeded_batch, seeded_model

from facemask_zoo.benchmarks.networks import seeded_program
from facemask_zoo.cards import LANDMARKS, ModelCard
from facemask_zoo.graph import reference as graph_reference
from facemask_zoo.model import Model

FOLDER = Path(__file__).parent / "goldens"
CHECKSUMS = FOLDER / "SHA256SUMS"
LANDMARKS_GOLDEN = "landmarks"
SEED = 20
ROW_STEP = 37

# No decision may be so close that the last bit of an exponential turns it.
_LEAST_MARGIN = 1e-7


class Case(NamedTuple):
    """What AIZOO's arithmetic is given beside the seeded outputs of a network."""

    input_size: int
    seed: int
    image_size: tuple[int, int]
    conf: float
    iou: float


CASES = {
    "own-thresholds": Case(260, 1, (464, 330), 0.5, 0.4),
    "function-defaults": Case(260, 2, (520, 686), 0.2, 0.5),
    "own-thresholds-360": Case(360, 3, (1920, 1080), 0.5, 0.4),
    "tiny-picture": Case(360, 4, (31, 17), 0.7, 0.3),
    "nothing-found": Case(260, 5, (464, 330), 1.0, 0.4),
}


def main() -> None:
    """Store every golden, and the digests of all files."""
    FOLDER.mkdir(exist_ok=True)
    for name in NETWORKS:
        golden, digest = make_golden(name)
        path = FOLDER / f"{name}.safetensors"
        safetensors.numpy.save_file(golden, path, metadata={"digest": digest})
    for name in CASES:
        golden, digest = make_aizoo_golden(name)
        path = FOLDER / f"aizoo-{name}.safetensors"
        safetensors.numpy.save_file(golden, path, metadata={"digest": digest})
    golden, digest = make_landmarks_golden()
    path = FOLDER / f"{LANDMARKS_GOLDEN}.safetensors"
    safetensors.numpy.save_file(golden, path, metadata={"digest": digest})
    CHECKSUMS.write_text(checksums())


def make_golden(name: str) -> tuple[dict[str, np.ndarray], str]:
    """Every 37th row of the outputs of a seeded network for two pictures; digest of its weights."""
    network = NETWORKS[name]
    model = seeded_model(network, SEED)
    loc, scores = reference.forward(network, model.tensors, seeded_batch(network, 2))
    golden = {
        "loc": np.ascontiguousarray(loc[:, ::ROW_STEP]),
        "scores": np.ascontiguousarray(scores[:, ::ROW_STEP]),
    }
    return golden, model.digest


def landmark_model() -> Model:
    """A landmark network with seeded weights."""
    card = ModelCard("seeded", "", LANDMARK_NETWORK, task=LANDMARKS)
    return Model(card, seeded_program(LANDMARK_NETWORK.graph, SEED).tensors)


def make_landmarks_golden() -> tuple[dict[str, np.ndarray], str]:
    """Points and poses of a seeded landmark network for two pictures; digest of its weights."""
    model = landmark_model()
    return graph_reference.forward(model.program, seeded_batch(LANDMARK_NETWORK, 2)), model.digest


def make_aizoo_golden(name: str) -> tuple[dict[str, np.ndarray], str]:
    """What AIZOO's programs would report for seeded outputs; digest of those."""
    case = CASES[name]
    loc, scores = seeded_outputs(name)
    answer = aizoo.detect(loc, scores, case.input_size, case.image_size, case.conf, case.iou)
    margins = answer.margins
    # Scores are given, not computed: any difference between them is one on every machine.
    if min(margins.pixel, margins.overlap) < _LEAST_MARGIN or not min(margins.conf, margins.order):
        raise ValueError(f"{name}: take another seed, this one has margins of {margins}.")
    golden = {
        "rows": answer.rows.astype(np.int16),
        "scores": answer.scores,
        "anchors": aizoo.anchors(case.input_size)[:: 4 * ROW_STEP].copy(),
        "decoded": aizoo.decode(loc, case.input_size)[:: 4 * ROW_STEP].copy(),
    }
    return golden, hashlib.sha256(loc.tobytes() + scores.tobytes()).hexdigest()


def seeded_outputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(A, 4) offsets and (A, 2) scores, few of them high; on every fifth anchor both are equal.

    Products of uniform numbers are the same on every machine; powers are not.
    """
    case = CASES[name]
    rng = np.random.Generator(np.random.PCG64(case.seed))
    count = 4 * sum(cells**2 for cells in aizoo.CELLS[case.input_size])
    loc = ((rng.random((count, 4)) - 0.5) * 3).astype(np.float32)
    scores = rng.random((count, 2))
    for _ in range(4):
        scores = scores * scores
    scores[::5, 1] = scores[::5, 0]
    return loc, scores.astype(np.float32)


def checksums() -> str:
    """A line per golden file, as ``sha256sum`` writes them."""
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(FOLDER.glob("*.safetensors"))
    }
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


if __name__ == "__main__":
    main()
