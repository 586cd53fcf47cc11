"""8-bit weights whose sums are right on every processor.

Without instructions for 8-bit dot products (VNNI on x86), runtimes multiply activations and weights
in pairs and add the two products in signed 16 bits. A sum that does not fit is cut off there
(VPMADDUBSW on x86) or wraps around (VMLAL on ARM), and the outputs depend on the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.errors import WeightsError

UNSIGNED = 255
"""Largest magnitude of an unsigned 8-bit activation, or of a signed one that is shifted to it."""

SIGNED = 128
"""Largest magnitude of a signed 8-bit activation in kernels that take it as it is."""

EIGHT_BIT = (np.int8, np.uint8)
"""Types of the weights that are looked at."""


def largest_weight(activation: int) -> int:
    """Largest magnitude of a weight with which two products always fit in signed 16 bits.

    Args:
        activation: Largest magnitude of an activation, :data:`UNSIGNED` or :data:`SIGNED`.
    """
    return int(np.iinfo(np.int16).max) // (2 * activation)


def check_weights(weights: Mapping[str, NDArray[Any]], activation: int) -> None:
    """See that no sum of two products can leave signed 16 bits.

    Args:
        weights: Every 8-bit weight of a written file, as stored, any shape, by name.
        activation: Largest magnitude of an activation, :data:`UNSIGNED` or :data:`SIGNED`.

    Raises:
        WeightsError: A weight is too large, or there is no 8-bit weight at all.
    """
    if not weights:
        raise WeightsError("Expected a file with 8-bit weights, but found none in it.")
    bound = largest_weight(activation)
    for name, values in weights.items():
        found = int(np.abs(values.astype(np.int64)).max(initial=0))
        if found > bound:
            raise WeightsError(
                f"The 8-bit weights {name!r} can saturate on processors without 8-bit dot "
                f"products: expected magnitudes of at most {bound}, but got {found}."
            )
