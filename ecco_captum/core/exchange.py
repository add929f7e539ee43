r"""A record in the forms of other libraries: JSON, Arrow tables, arrays with named axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import xarray as xr


def plain(value: Any) -> Any:
    """A value as JSON has it; of a record its fields, and what it says of them."""
    if isinstance(value, StoredValues):
        return {"path": value.path, "shape": list(value.shape), "dtype": value.dtype.name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        said = {name: getattr(value, name, None) for name in ("sentence", "verdict")}
        said = {name: text for name, text in said.items() if text and name not in fields}
        kind = {"record": type(value).__name__} if hasattr(value, "to_json") else {}
        return {**kind, **said, **fields}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def arrow_table(table: pd.DataFrame) -> pa.Table:
    """A table of pandas as Arrow's."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Arrow tables need pyarrow: pip install 'ecco-captum[arrow]'") from error
    return pyarrow.Table.from_pandas(table, preserve_index=False)


def labelled_arrays(record: Any, declared: Mapping[str, tuple[Any, str]]) -> xr.Dataset:
    """Arrays of a record, each with its axes as its class declares them, such as "layers 3"."""
    if not declared:
        raise TypeError(f"a {type(record).__name__} has no axes")
    try:
        import xarray
    except ImportError as error:
        raise ImportError(
            "arrays with named axes need xarray: pip install 'ecco-captum[xarray]'"
        ) from error
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for name, (value, axes) in declared.items():
        array = _array(value)
        dims = _dims(record, axes.split(), array.ndim)
        (coordinates if dims == (name,) else variables)[name] = (dims, array)
    for name, declaration in record._labels.items():
        dim, _, attribute = declaration.partition(": ")
        coordinates[name] = ((dim,), _array(attrgetter(attribute)(record)))
    settings = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    attributes = {
        name: value for name, value in settings.items() if isinstance(value, str | int | float)
    }
    attributes |= {"record": type(record).__name__}
    return xarray.Dataset(variables, coordinates, attributes)


def _array(value: Any) -> np.ndarray:
    """Texts, and tuples of texts, are objects: each is one element of its axis."""
    if isinstance(value, Tokens):
        value = value.texts
    if isinstance(value, tuple | list):
        array = np.empty(len(value), dtype=object)
        array[:] = [item if isinstance(item, str) else " | ".join(item) for item in value]
        return array
    return np.asarray(value)


def _dims(record: Any, axes: list[str], count: int) -> tuple[str, ...]:
    """Names of dimensions; those of "..." are the record's own, of axes that need not be there."""
    if axes[0] == "...":
        missing = count - len(axes) + 1
        axes = [*record._leading[:missing], *axes[1:]]
    # An axis of that name may be there twice, as of a confusion matrix; for xarray each is its own.
    seen = [axes[: k + 1].count(axis) for k, axis in enumerate(axes)]
    return tuple(axis if k == 1 else f"{axis}_{k}" for axis, k in zip(axes, seen, strict=True))
