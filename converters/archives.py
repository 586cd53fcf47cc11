"""ZIP archives from strangers: nothing is unpacked to disk, and no claimed size is trusted."""

from __future__ import annotations

import io
import zipfile

from facemask_zoo.errors import WeightsError

_MAX_MEMBERS = 10_000
_CENTRAL_ENTRY = b"PK\x01\x02"
# The other methods unpack all they are given at once, a million times its size.
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Fixed, so that the same model gives the same bytes; the earliest time that ZIP knows.
_TIME = (1980, 1, 1, 0, 0, 0)


def open_archive(data: bytes) -> zipfile.ZipFile:
    """The archive in `data`.

    Raises:
        WeightsError: It is damaged, or lists an absurd number of members.
    """
    if data.count(_CENTRAL_ENTRY) > _MAX_MEMBERS:
        raise WeightsError(f"A ZIP archive of more than {_MAX_MEMBERS} members holds no weights.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # zipfile raises many unrelated types on damaged tables
        raise WeightsError(f"Not a whole ZIP archive: {error}") from error
    if any(member.compress_type not in _BOUNDED for member in archive.infolist()):
        raise WeightsError("Members of the archive are packed in a way that weights never are.")
    return archive


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """One member, however large it claims to be, up to `limit` bytes.

    Raises:
        WeightsError: It is missing, damaged, or unpacks to more.
    """
    try:
        with archive.open(name) as file:
            data = file.read(limit + 1)
    except Exception as error:  # zipfile and its decompressors raise many unrelated types
        raise WeightsError(f"The archive holds no whole {name}: {error}") from error
    if len(data) > limit:
        raise WeightsError(f"{name} unpacks to more than {limit} bytes.")
    return data


def add_member(archive: zipfile.ZipFile, name: str, data: bytes, extra: bytes = b"") -> None:
    """Add a member, uncompressed and without the time of day.

    Args:
        archive: Open for writing.
        name: Path in the archive.
        data: Its content.
        extra: ZIP's extra field for it.
    """
    info = zipfile.ZipInfo(name, _TIME)
    info.extra = extra
    archive.writestr(info, data)
