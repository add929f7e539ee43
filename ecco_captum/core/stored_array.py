r"""StoredValues: an array of activations that stays on disk and is read where it is asked for."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

MARK = "ecco_captum"
"""The attribute of the folder that says what it holds."""


@dataclass(frozen=True)
class StoredValues:
    r"""Values (layers, tokens, features) in a Zarr v3 folder.

    They are indexed like a numpy array, and only what is asked for is read; lists of numbers act on
    their own axis. ``numpy.asarray`` reads everything. The folder is opened when it is needed, so
    that this can be pickled and saved; another run's folder in its place is an error.

    Args:
        path (str): the folder.
        key (str): what the run that wrote it calls itself.
        rows (tuple of int): which of the folder's layers these are.
        tokens (int): how many tokens there are.
        features (int): how many features there are.
        dtype (numpy.dtype): of the values.
    """

    path: str
    key: str
    rows: tuple[int, ...]
    tokens: int
    features: int
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("float32"))

    def __post_init__(self) -> None:
        if min(self.tokens, self.features, *self.rows, 0) < 0:
            raise ValueError(
                f"rows, tokens, features: got {self.rows}, {self.tokens} and {self.features}, "
                "accepts numbers from 0"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, tokens, features)"""
        return len(self.rows), self.tokens, self.features

    @property
    def ndim(self) -> int:
        return 3

    @property
    def nbytes(self) -> int:
        """What they would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def of_rows(self, rows: list[int]) -> StoredValues:
        """The same of some layers alone; nothing is read."""
        chosen = tuple(self.rows[row] for row in rows)
        return StoredValues(self.path, self.key, chosen, self.tokens, self.features, self.dtype)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        given = index if isinstance(index, tuple) else (index,)
        if len(given) > 3 or any(index is None or index is Ellipsis for index in given):
            raise IndexError(f"got [{index!r}], accepts numbers, slices and lists for 3 axes")
        whole = (slice(None),) * 3
        layers, tokens, features = (given + whole)[:3]
        rows = np.asarray(self.rows)[layers]
        axes = [_within(tokens, self.tokens), _within(features, self.features)]
        if rows.ndim == 0:
            return self._read(int(rows), axes)
        values = None
        for k, row in enumerate(rows.tolist()):
            read = self._read(row, axes)
            if values is None:
                values = np.empty((len(rows), *read.shape), self.dtype)
            values[k] = read
        return np.empty((0, *self.shape[1:]), self.dtype) if values is None else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("copy: got False, but what is on disk can only be read as a copy")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def _read(self, row: int, axes: list[Any]) -> np.ndarray:
        return np.asarray(self._array.oindex[row, axes[0], axes[1]])

    @cached_property
    def _array(self) -> Any:
        group = opened_group(self.path)
        if group.attrs[MARK]["key"] != self.key:
            raise ValueError(f"path: {self.path!r} holds what another run has written since")
        return group["values"]


def opened_group(path: str | Path, mode: str = "r") -> Any:
    """Opens a folder of activations, a ``zarr.Group`` with the attribute :data:`MARK`."""
    zarr = imported_zarr()
    if not Path(path).is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(path)!r}")
    try:
        group = zarr.open_group(str(path), mode=mode)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"path: {str(path)!r} holds no activations") from error
    if MARK not in group.attrs:
        raise ValueError(f"path: {str(path)!r} holds no activations of ecco-captum")
    return group


def imported_zarr() -> Any:
    """The library, which writes a file whole or not at all from 3.1.3 on."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            "store: activations on disk need zarr 3.1.3 or newer (Python 3.11 or newer): "
            "pip install 'ecco-captum[data]'"
        ) from error
    return zarr


def _within(index: Any, length: int) -> Any:
    """An index of one axis, as zarr takes it: from 0, ascending slices."""
    if isinstance(index, slice):
        start, stop, step = index.indices(length)
        return slice(start, stop, step) if step > 0 else np.arange(start, stop, step)
    if isinstance(index, int | np.integer):
        number = operator.index(index)
        if not -length <= number < length:
            raise IndexError(f"got {number}, accepts {-length} to {length - 1}")
        return number % length
    return np.arange(length)[index]
