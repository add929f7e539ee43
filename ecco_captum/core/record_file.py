r"""The file of a record, read without trusting what it says of itself."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What Python's parser raises for a header that is none, nested brackets by the thousand included.
_UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    MemoryError,
)
# What the zip's reader raises where bytes are missing or changed.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)
# No deflated byte stands for more than this many.
_EXPANSION = 1032


def is_zip(file: BinaryIO) -> bool:
    """Whether an open file starts as ``.npz`` files do; it is put back to its start."""
    start = file.read(4)
    file.seek(0)
    return start == b"PK\x03\x04"


def read_arrays(file: BinaryIO, needed: str) -> dict[str, np.ndarray]:
    """Reads every array of an open ``.npz`` file; none if that of a name is not among them.

    Raises:
        ValueError: says in words what is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            if f"{needed}.npy" not in archive.namelist():
                return {}
            return {
                info.filename.removesuffix(".npy"): _read(archive, info, size)
                for info in archive.infolist()
            }
    except _BROKEN as error:
        raise ValueError(f"bytes of the zip are missing or changed ({error})") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> np.ndarray:
    """Reads one array; memory is taken only for as much as the file can hold."""
    name = info.filename.removesuffix(".npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"the array {name!r} is compressed in a way that records never are")
    if info.compress_size > size or info.file_size > _EXPANSION * info.compress_size:
        raise ValueError(f"the array {name!r} claims more bytes than the file can hold")
    with archive.open(info) as member:
        shape, dtype = _header(name, member)
        claimed, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if claimed != held:
        raise ValueError(
            f"the array {name!r} claims {claimed:,} bytes in its header, and has {held:,}"
        )
    with archive.open(info) as member:
        array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        # Only whoever reads beyond the last byte has the checksum compared.
        member.read(1)
    return array


def _header(name: str, member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
    except _UNREADABLE as error:
        raise ValueError(f"the array {name!r} has a header that cannot be read") from error
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"the array {name!r} holds {dtype} and no numbers or texts")
    return shape, dtype


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` that takes its place if all went well."""
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(path.absolute().parent)!r}")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
