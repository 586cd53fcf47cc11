"""Where weights come from: the package, a cache folder, a mirror, or their published address.

Environment variables:
    FACEMASK_ZOO_CACHE: Folder for downloads and conversions, instead of the user's cache folder.
    FACEMASK_ZOO_MIRROR: Folder or http(s) address that holds the published files by name.
    FACEMASK_ZOO_OFFLINE: If set and not 0, nothing is downloaded.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import importlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import platformdirs

from facemask_zoo import model_files
from facemask_zoo.architectures.pyramid import InputSize, Pyramid
from facemask_zoo.arguments import check_integer, path_text
from facemask_zoo.cards import File, ModelCard, list_models, load_card, weights_folder
from facemask_zoo.converters.formats.registry import find_format, format_for
from facemask_zoo.errors import (
    DownloadError,
    FaceMaskZooError,
    InvalidArgumentError,
    UnknownNameError,
    UnreadableFileError,
    WeightsError,
)
from facemask_zoo.files import atomic_path, check_file, check_folder
from facemask_zoo.graph import text
from facemask_zoo.graph.graph import Graph
from facemask_zoo.model import Model
from facemask_zoo.version import __version__

log = logging.getLogger(__name__)

_Check = Callable[[Path], None]

_LOCKS = "locks"
_DAMAGED = "-damaged-"
_TIMEOUT_SECONDS = 30
_MAX_SIDE = 1 << 15
_MAX_STEM = 60


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model's weights, wherever they are, to be had in any framework's format.

    Attributes:
        card: The model's card.
        path: The user's own file; None for a model of the zoo.
        trusted: Format of the user's own file if it shall run as it is; empty otherwise.
        content: The user's own file as it was read, so that it is parsed but once; None for a model
            of the zoo, and for a file that runs as it is.
        resized: Whether the card is for another input size than that of the files.
    """

    card: ModelCard
    path: Path | None = None
    trusted: str = ""
    content: Model | None = dataclasses.field(default=None, repr=False, compare=False)
    resized: bool = False

    def native(self, formats: Iterable[str], precision: str = "fp32") -> Path:
        """A verified file in one of `formats`.

        A file that ships is taken as it is; otherwise the first format is written once and kept in
        the cache folder. So it is for a user's own file, even if the framework could load it: what
        the framework sees is made of checked tensors, and no framework parses a stranger's bytes,
        unless the user says that the file may be trusted.

        Args:
            formats: Names of ``FORMATS``, the preferred one first.
            precision: What the weights are stored in, ``"fp32"`` or ``"fp16"``.

        Raises:
            WeightsError: A file is damaged or unreadable, or neither the cache folder nor a
                temporary one can be written; or a trusted file is in none of the formats.
            DownloadError: The weights are not at hand and cannot be fetched.
        """
        formats = tuple(formats)
        if self.trusted:
            return self._as_it_is(formats)
        for name in formats:
            if self._ships and name in self.card.files and precision == "fp32":
                return _shipped(self.card.files[name])
        return _converted(self.model(), formats[0], precision)

    @property
    def _ships(self) -> bool:
        """Whether this is a model of the zoo, at the input size of the files that ship."""
        return self.path is None and not self.resized

    def with_input_size(self, input_size: InputSize) -> Weights:
        """The same weights for another input size.

        Args:
            input_size: Side in pixels, or (height, width).

        Raises:
            InvalidArgumentError: Only one size fits the weights or the file, or it is no multiple
                of what the network needs.
        """
        old = self.card.architecture
        if not isinstance(old, Pyramid):
            if self.graph.input_shape[1:] == sides(input_size):
                return self
            raise InvalidArgumentError(f"{self.card.name!r} has one input size alone.")
        architecture = old.with_input_size(input_size)
        if architecture == old:
            return self
        if self.trusted:
            raise InvalidArgumentError(f"{self.path} runs as it is, and for one input size alone.")
        card = dataclasses.replace(self.card, architecture=architecture)
        content = self.content and Model(card, self.content.tensors)
        return dataclasses.replace(self, card=card, content=content, resized=True)

    def _as_it_is(self, formats: tuple[str, ...]) -> Path:
        assert self.path is not None
        if self.trusted not in formats:
            raise WeightsError(
                f"{self.path} can only run as it is where {self.trusted} files do, "
                f"but got a framework for {', '.join(formats)}."
            )
        return self.path

    @property
    def graph(self) -> Graph:
        """The network.

        Raises:
            WeightsError: Neither the card nor the file says what it is.
        """
        if self.content is not None:
            return self.content.graph
        if self.card.architecture is None:
            raise WeightsError(f"Nothing says what the network of {self.card.name!r} is.")
        return self.card.architecture.graph

    def model(self) -> Model:
        """Card and canonical tensors, free of subnormal dust.

        Raises:
            WeightsError: A file is damaged or altered.
            DownloadError: The weights are not at hand and cannot be fetched.
        """
        if self.path is not None:
            return (self.content or model_files.read(self.path)).without_subnormals()
        shipped = _canonical_of(self.card.name)
        return shipped if self._ships else Model(self.card, shipped.tensors)

    def fetch(self) -> Path:
        """The verified file that the canonical tensors are made from, downloaded if need be.

        Raises:
            WeightsError: The file is damaged or altered.
            DownloadError: It is not at hand and cannot be fetched.
        """
        if self.path is not None:
            return self.path
        if self.card.source:
            return _fetched(self.card.source)
        return _shipped(self.card.files["safetensors"])

    def cached(self) -> Path | None:
        """Where the file of :meth:`fetch` lies, if it is there already; it is not verified."""
        if self.path is not None or self.card.source is None:
            return self.fetch()
        path = cache_folder() / _download_name(self.card.source)
        return path if path.is_file() else None

    def verify(self) -> Path | None:
        """Check every file that ships, or the downloaded one, against its digest.

        Returns:
            What :meth:`cached` returns: None if nothing is at hand.

        Raises:
            WeightsError: A file is missing, unreadable, damaged or altered.
        """
        for files in self.card.files.values():
            _shipped(files)
        path = self.cached()
        if path and not self.path and self.card.source:
            check_file(path, self.card.source.sha256, self.card.source.size)
        return path


_SIZED = re.compile(r"(?P<model>.+)@(?P<height>[0-9]{1,5})(?:x(?P<width>[0-9]{1,5}))?")


def sides(input_size: InputSize) -> tuple[int, int]:
    """Height and width of an input.

    Raises:
        InvalidArgumentError: It is neither one number of pixels nor two.
    """
    pair = input_size if isinstance(input_size, tuple) else (input_size, input_size)
    if len(pair) != 2:
        raise InvalidArgumentError(f"input_size: expected one or two numbers, got {input_size!r}.")
    for side in pair:
        check_integer("input_size", side, 1, _MAX_SIDE)
    return (int(pair[0]), int(pair[1]))


def open_weights(
    model: str | os.PathLike[str], *, trust: bool = False, input_size: InputSize | None = None
) -> Weights:
    """Find a model.

    Args:
        model: A name of :func:`list_models`, or the path of a weights file in any readable format;
            ``@640`` or ``@480x640`` (height, width) behind it is the size of the input.
        trust: Run a file as it is, whatever precision it is in. Only its card is read; for the
            rest, the framework's own parser is relied on.
        input_size: As behind the name, which it takes precedence over.

    Raises:
        UnknownNameError: It is neither.
        InvalidArgumentError: It is no text and no path, or another size does not fit it.
        WeightsError: The file is damaged or of an unknown format; or it shall run as it is and
            holds no card.
    """
    name = path_text("model", model)
    name, named = split_size(name)
    size = named if input_size is None else sides(input_size)
    weights = find_weights(name, trust=trust, open_size=size)
    return weights if size is None else weights.with_input_size(size)


def find_weights(
    name: str, *, trust: bool = False, open_size: tuple[int, int] | None = None
) -> Weights:
    """Find a model, at the input size that it has.

    Args:
        name: A name of :func:`list_models`, or a path.
        trust: As for :func:`open_weights`.
        open_size: Height and width of the input, where a file leaves them open.

    Raises:
        FaceMaskZooError: As :func:`open_weights`.
    """
    if name in list_models():
        return Weights(load_card(name))
    path = Path(name)
    if not os.path.exists(path):  # which takes a name that is too long for one that is not there
        error = UnknownNameError.among("model", name, list_models())
        raise UnknownNameError(f"{error} There is no file of that name either.")
    if trust:
        row = format_for(path)
        return Weights(model_files.read_card(path, row), path, row.name)
    content = model_files.read(path, open_size)
    return Weights(content.card, path, content=content)


def split_size(model: str) -> tuple[str, tuple[int, int] | None]:
    """Part ``zoo-m@640`` or ``zoo-m@480x640`` into the model and (height, width) of its input.

    The size is None where the text has none, or is the path of something.
    """
    found = None if os.path.exists(model) else _SIZED.fullmatch(model)
    if not found:
        return model, None
    height = int(found["height"])
    return found["model"], (height, int(found["width"] or height))


def cache_folder() -> Path:
    """Folder for downloads and conversions."""
    chosen = os.environ.get("FACEMASK_ZOO_CACHE")
    return Path(chosen).expanduser() if chosen else Path(_default_cache())


def _default_cache() -> str:
    return platformdirs.user_cache_dir("facemask-zoo", appauthor=False)


def _shipped(files: tuple[File, ...]) -> Path:
    for file in files:
        check_file(weights_folder() / file.name, file.sha256, file.size)
    return weights_folder() / files[0].name


@functools.lru_cache(maxsize=4)
def _canonical_of(name: str) -> Model:
    """The canonical form of a zoo model; kept, since every framework starts from it."""
    card = load_card(name)
    read = model_files.read(Weights(card).fetch())
    model = Model(card, read.tensors).without_subnormals()
    if model.digest != card.tensors_sha256:
        raise WeightsError(
            f"The tensors of {name!r} differ from its card: "
            f"expected {card.tensors_sha256}, but got {model.digest}."
        )
    return model


def _download_name(source: File) -> Path:
    return Path("downloads", f"{source.sha256[:16]}-{source.name}")


def _fetched(source: File) -> Path:
    def check(path: Path) -> None:
        check_file(path, source.sha256, source.size)

    return _kept(
        _download_name(source),
        check,
        functools.partial(_download, source),
        f"Fetching {source.name}",
    )


def _address(source: File) -> str:
    mirror = os.environ.get("FACEMASK_ZOO_MIRROR")
    if not mirror:
        return source.url
    return f"{mirror.rstrip('/')}/{source.name}"


def _download(source: File, target: Path) -> None:
    """Copy the published file to `target`, and verify it."""
    url = _address(source)
    log.info("Fetching %s (%d bytes) from %s", source.name, source.size, url)
    try:
        with target.open("wb") as file:
            _copy(source, url, _Capped(file, source.size))
    except FaceMaskZooError:
        raise
    except Exception as error:  # requests, urllib3 and the operating system raise many types
        raise DownloadError(
            f"Cannot fetch {source.name} from {url}: {error}. "
            f"Set FACEMASK_ZOO_MIRROR to a folder or address that holds it."
        ) from error
    try:
        check_file(target, source.sha256, source.size)
    except WeightsError as error:
        raise WeightsError(f"{url} is not the published file: {error}") from error


def _copy(source: File, url: str, output: _Capped) -> None:
    if not url.startswith(("http://", "https://")):
        with Path(url).expanduser().open("rb") as local:
            shutil.copyfileobj(local, output)
        return
    if os.environ.get("FACEMASK_ZOO_OFFLINE", "0") != "0":
        raise DownloadError(
            f"{source.name} is not in {cache_folder()}, and FACEMASK_ZOO_OFFLINE is set."
        )
    pooch = importlib.import_module("pooch")  # slow to import, and hardly ever needed
    pooch.get_logger().setLevel(logging.WARNING)
    pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS)(url, output, None)


class _Capped:
    """A file that refuses to grow over the size it should have in the end."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._left = limit

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise WeightsError("The server sends more bytes than the published file has.")
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _converted(model: Model, name: str, precision: str) -> Path:
    """The model in another format, from the cache folder, written there if need be."""
    row = find_format(name)
    parts = (model.digest, text.to_json(model.graph), model.card.portable().to_json())
    identity = "".join((*parts, name, precision, __version__))
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    stem = re.sub(r"[^\w.-]", "_", model.card.name)[:_MAX_STEM]

    def write(folder: Path) -> None:
        log.info("Writing %s as %s", model.card.name, row.title)
        folder.mkdir()
        model_files.write(model, folder / f"{stem}{row.suffix}", name, precision)

    folder = _kept(Path("converted", f"{stem}-{name}-{key}"), check_folder, write, "Converting")
    return folder / f"{stem}{row.suffix}"


def _kept(name: Path, check: _Check, write: _Check, what: str) -> Path:
    """A file or folder of the cache, named by its content: as it is, or written now.

    Where the cache cannot be written, it is kept in a temporary folder as long as the process.

    Args:
        name: Path below the cache folder.
        check: Raises WeightsError if what it is given must not be used.
        write: Writes it to the path it is given.
        what: What `write` does, for the log.
    """
    cache = cache_folder()
    try:
        return _kept_in(cache, name, check, write, what)
    except OSError as error:
        log.warning(
            "Cannot write to %s (%s): a temporary folder takes its place in this process. "
            "Set FACEMASK_ZOO_CACHE to a writable folder.",
            cache,
            error,
        )
    try:
        return _kept_in(_temporary_cache(os.getpid()), name, check, write, what)
    except OSError as error:
        raise WeightsError(
            f"Cannot write to {cache}, nor to a temporary folder: {error}. "
            "Set FACEMASK_ZOO_CACHE to a writable folder."
        ) from error


def _kept_in(cache: Path, name: Path, check: _Check, write: _Check, what: str) -> Path:
    path = cache / name
    if _passes(path, check, what):
        return path
    import filelock  # a twentieth of the time of importing the package, and needed rarely

    locks = cache / _LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(locks / f"{path.name}.lock"):
        if not _passes(path, check, what):  # or another process has just written it
            path.parent.mkdir(parents=True, exist_ok=True)
            _set_aside(path)
            with atomic_path(path) as temporary:
                write(temporary)
    return path


def _passes(path: Path, check: _Check, what: str) -> bool:
    if not os.path.lexists(path):
        return False
    try:
        check(path)
    except UnreadableFileError as error:
        raise UnreadableFileError(
            f"{error} It is in the cache: make it readable, remove it, or set FACEMASK_ZOO_CACHE "
            "to another folder."
        ) from error
    except WeightsError as error:
        log.warning("%s again: %s", what, error)
        return False
    return True


def _set_aside(path: Path) -> None:
    """Free the name of something damaged without removing it: another process may be reading it."""
    if os.path.lexists(path):
        folder = tempfile.mkdtemp(prefix=f"{path.name}{_DAMAGED}", dir=path.parent)
        os.rename(path, Path(folder) / path.name)


@functools.cache
def _temporary_cache(process: int) -> Path:
    """A folder that goes when this process ends, not when one that it forks does."""
    folder = Path(tempfile.mkdtemp(prefix="facemask-zoo-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
