"""A network on a framework, ready to run: what every task starts from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from facemask_zoo.architectures.pyramid import InputSize
from facemask_zoo.arguments import check_kind, path_text
from facemask_zoo.backends import Backend, Options, find_framework, list_frameworks
from facemask_zoo.cards import ModelCard, list_models
from facemask_zoo.errors import (
    DeviceError,
    FaceMaskZooError,
    FrameworkNotInstalledError,
    InvalidArgumentError,
)
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.signature import Signature
from facemask_zoo.store import Weights, open_weights, split_size

AUTO = "auto"
"""The fastest framework that is installed and has the device and precision asked for."""


@dataclasses.dataclass(frozen=True)
class Session:
    """A model that is loaded.

    Attributes:
        card: The model's card.
        graph: Its network.
        framework: Name of the framework it runs on.
        backend: The network on that framework.
        loading: The arguments of :func:`open_session` that load it again; empty if it was not
            made by that.
    """

    card: ModelCard
    graph: Graph
    framework: str
    backend: Backend
    loading: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy what it takes to load the network again, not the framework's state."""
        if not self.loading:
            raise InvalidArgumentError("Only what open_session returns can be copied or pickled.")
        return _open_again, (dict(self.loading),)


def open_session(
    model: str | os.PathLike[str],
    *,
    framework: str = AUTO,
    options: Options | None = None,
    trust: bool = False,
    input_size: InputSize | None = None,
    check: Callable[[Weights], object] | None = None,
) -> Session:
    """Load a model on a framework.

    Args:
        model: A name of :func:`list_models`, or the path of a weights file.
        framework: A name of :func:`list_frameworks`, or ``AUTO``.
        options: Device, precision and threads.
        trust: Run a file as it is; the framework's own parser sees it unchecked.
        input_size: Side of the input in pixels, or (height, width); None for the card's, or the
            file's.
        check: Is given the weights before a framework is, to raise if they are of no use.

    Raises:
        InvalidArgumentError: The model has no such input size, or an argument is of the wrong type.
        UnknownNameError: No such model or framework.
        FrameworkNotInstalledError: The framework is not installed or does not import.
        DeviceError: The framework lacks the device, precision or thread count here; or none of
            those installed has them.
        WeightsError: The weights are damaged or altered.
        DownloadError: The weights are not at hand and cannot be fetched.
    """
    check_kind("trust", trust, bool)
    if framework != AUTO:
        find_framework(framework)  # before anything is fetched
    weights = open_weights(model, trust=trust, input_size=input_size)
    if check is not None:
        check(weights)
    options = options or Options()
    session = start(weights, framework, options)
    loading = {"model": place(model), "framework": session.framework, "trust": trust}
    loading |= {"options": options, "input_size": input_size}
    return dataclasses.replace(session, loading=loading)


def place(model: str | os.PathLike[str]) -> str:
    """A model's name; or where its file lies, also for a process in another folder."""
    name = path_text("model", model)
    return name if split_size(name)[0] in list_models() else os.path.abspath(name)


def _open_again(arguments: dict[str, Any]) -> Session:
    return open_session(**arguments)


def start(weights: Weights, framework: str, options: Options) -> Session:
    """Load the weights on the framework asked for, or on the first that can do what is asked.

    Raises:
        FaceMaskZooError: As :func:`open_session`.
    """
    names = _able(weights) if framework == AUTO else [framework]
    problems: list[FaceMaskZooError] = []
    for name in names:
        try:
            kind = find_framework(name).backend()
            kind.check(options)
            path = weights.native(kind.formats, options.precision)
            backend = kind(path, Signature.of(weights.graph), options)
            return Session(weights.card, weights.graph, name, backend)
        except (FrameworkNotInstalledError, DeviceError) as error:
            problems.append(error)
    if framework != AUTO:
        raise problems[0]
    raise _none_of(problems)


def _none_of(problems: Sequence[FaceMaskZooError]) -> FaceMaskZooError:
    """Why no framework runs the model: what the installed ones lack, if there are any."""
    lacking = [problem for problem in problems if isinstance(problem, DeviceError)]
    kind = DeviceError if lacking else FrameworkNotInstalledError
    reasons = dict.fromkeys(map(str, lacking or problems))
    return kind(f"No framework can run this model: {' '.join(reasons)}")


def _able(weights: Weights) -> list[str]:
    """Names of the frameworks that may run the weights, fastest first."""
    rows = list_frameworks()
    return [row.name for row in rows if not weights.trusted or weights.trusted in row.formats]
