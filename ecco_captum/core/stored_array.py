r"""StoredValues: an array of activations that stays on disk and is read where it is asked for."""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

MARK = "ecco_captum"
"""The attribute of the folder that says what it holds."""


@dataclass(frozen=True)
class StoredValues:
    r"""Values (layers, tokens, features) in a Zarr v3 folder, or in several, one part in each.

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
        parts (tuple of tuple): of values that lie in folders within this one, each one's path from
            here, key, and number of tokens; none of a folder that holds its values itself.
    """

    path: str
    key: str
    rows: tuple[int, ...]
    tokens: int
    features: int
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("float32"))
    parts: tuple[tuple[str, str, int], ...] = ()

    def __post_init__(self) -> None:
        if min(self.tokens, self.features, *self.rows, 0) < 0:
            raise ValueError(
                f"rows, tokens, features: got {self.rows}, {self.tokens} and {self.features}, "
                "accepts numbers from 0"
            )
        if self.parts and sum(tokens for _, _, tokens in self.parts) != self.tokens:
            raise ValueError(f"parts: their tokens do not add up to {self.tokens}")

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
        return replace(self, rows=chosen)

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
        tokens, features = axes
        if not self.parts:
            return self._read_part(0, row, tokens, features)
        if isinstance(tokens, int):
            part = int(np.searchsorted(self._starts, tokens, side="right")) - 1
            return self._read_part(part, row, tokens - int(self._starts[part]), features)
        places = tokens
        if isinstance(tokens, slice):
            places = np.arange(tokens.start, tokens.stop, tokens.step)
        of_part = np.searchsorted(self._starts, places, side="right") - 1
        values = np.empty((len(places), *np.empty(self.features)[features].shape), self.dtype)
        for part in np.unique(of_part).tolist():
            chosen = np.flatnonzero(of_part == part)
            within = places[chosen] - self._starts[part]
            run = len(within) == within[-1] - within[0] + 1 and (np.diff(within) == 1).all()
            index = slice(int(within[0]), int(within[-1]) + 1) if run else within
            values[chosen] = self._read_part(part, row, index, features)
        return values

    def _read_part(self, part: int, row: int, tokens: Any, features: Any) -> np.ndarray:
        if part not in self._arrays:
            name, key, _ = self.parts[part] if self.parts else ("", self.key, 0)
            group = opened_group(Path(self.path, name))
            if group.attrs[MARK]["key"] != key:
                raise ValueError(f"path: {self.path!r} holds what another run has written since")
            self._arrays[part] = group["values"]
        return np.asarray(self._arrays[part].oindex[row, tokens, features])

    @cached_property
    def _starts(self) -> np.ndarray:
        """(parts,), the first token of each."""
        return np.cumsum([0, *(tokens for _, _, tokens in self.parts)])[:-1]

    @cached_property
    def _arrays(self) -> dict[int, Any]:
        """The arrays of zarr that were opened, by part."""
        return {}


def pieces_of(values: Any, tokens: slice, least: int) -> list[slice]:
    """Cuts tokens into runs of at least so many, save the last: parts of values on disk, small ones
    together; of values without parts, runs of equal size.
    """
    edges = np.arange(tokens.start, tokens.stop, least)
    if isinstance(values, StoredValues) and values.parts:
        edges = np.cumsum([count for _, _, count in values.parts])
    bounds = [tokens.start]
    for edge in edges.tolist():
        if bounds[-1] + least <= edge < tokens.stop:
            bounds.append(edge)
    return [slice(*both) for both in itertools.pairwise([*bounds, tokens.stop])]


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
