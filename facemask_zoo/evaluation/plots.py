"""Curves as PNG files (matplotlib, without its global state)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.evaluation.curves import Curve
from facemask_zoo.evaluation.extras import require

_SIDE = 4.2
_DPI = 110


def precision_recall_png(runs: Sequence[tuple[str, Mapping[str, Curve]]]) -> bytes:
    """One diagram per label, with one curve per run.

    Args:
        runs: Name and curves of each.

    Raises:
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    labels = list(dict.fromkeys(label for _, found in runs for label in found))
    figure = require("matplotlib.figure").Figure(
        figsize=(_SIDE * max(len(labels), 1), _SIDE), dpi=_DPI, layout="constrained"
    )
    for axes, label in zip(_axes(figure, len(labels)), labels, strict=True):
        for name, found in runs:
            if label in found:
                axes.plot(found[label].recall, found[label].precision, label=name)
        _dress(axes, label, "recall", "precision")
    return _png(figure)


def roc_png(runs: Sequence[tuple[str, NDArray[np.float64]]]) -> bytes:
    """The ROC of every run.

    Args:
        runs: Name and (T, 3) ROC of each, see :attr:`Dataroots.roc`.

    Raises:
        FrameworkNotInstalledError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure").Figure(
        figsize=(_SIDE, _SIDE), dpi=_DPI, layout="constrained"
    )
    (axes,) = _axes(figure, 1)
    for name, roc in runs:
        axes.plot(roc[:, 0], roc[:, 1], label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    _dress(axes, "masked or not", "unmasked called masked", "masked called masked")
    return _png(figure)


def _axes(figure: Any, count: int) -> list[Any]:
    return list(figure.subplots(1, count, squeeze=False)[0]) if count else []


def _dress(axes: Any, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1.005), ylim=(0, 1.005))
    axes.set_aspect("equal")
    axes.grid(visible=True, linewidth=0.4)
    axes.legend(loc="lower left", fontsize="small")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
