r"""Record: the base of every result.

A record is frozen data: numpy arrays on the CPU, read-only, with texts and settings beside them. It
holds no model and no widget, so it can be kept, compared, pickled and reopened years later. On disk
a record is one ``.npz`` file: its arrays, and a JSON text that holds everything else. Nothing in it
is executed when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import operator
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from ecco_captum.core.field_types import check_dtype, check_fields
from ecco_captum.core.record_file import is_zip, read_arrays, replacing
from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import xarray as xr
    from matplotlib.figure import Figure

    from ecco_captum.models.language_model import LanguageModel


def data_frame(values: Any, columns: list[str] | None = None) -> pd.DataFrame:
    """Returns a table; without pandas, an ImportError names the extra that has it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'ecco-captum[data]'") from error
    try:
        return pandas.DataFrame(values, columns=columns)
    except UnicodeEncodeError:
        # Arrow's strings, which pandas takes where they are installed, hold no lone surrogates.
        frame = pandas.DataFrame(values, columns=columns, dtype=object)
        for name in frame.columns:
            with contextlib.suppress(UnicodeEncodeError):
                frame[name] = frame[name].infer_objects()
        return frame


R = TypeVar("R", bound="Record")

_FORMAT = 1
_META = "__record__"


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    r"""The base of every result.

    Subclasses are frozen dataclasses whose fields are numpy arrays, strings, numbers, None, tuples
    and dicts of those, or further records. Arrays are made read-only. Activations that were stored
    in a folder stay there; of them a record holds, and saves, where that is.

    Examples::

        >>> isinstance(attribution, Record), attribution.to_html("report.html")[:15]
        (True, '<!doctype html>')
    """

    title: ClassVar[str] = ""
    """The reader's question that the view answers."""

    _again: ClassVar[int] = 0
    # Seconds after which the page of a record that is still growing loads itself again.

    _kinds: ClassVar[dict[str, str]] = {}
    # From names of fields to what an array of them holds ("int", "float" or "bool") and the names
    # of its axes. Axes of one name are equally long, "3" is an axis of that length, "a+b" as long
    # as both, and "..." stands for any axes in front. "generation.tokens" is a field of a field.
    _axes: ClassVar[Mapping[str, str]] = {}
    # What "..." stands for, where it is there.
    _leading: ClassVar[tuple[str, ...]] = ()
    # What names the elements of an axis: from the label's name to "axis: attribute".
    _labels: ClassVar[Mapping[str, str]] = {}
    # Fields of files that an older version wrote, and what they are called now.
    _renamed: ClassVar[Mapping[str, str]] = {}
    # Fields of such files that are read no longer.
    _dropped: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Record._kinds[cls.__name__] = cls.__module__

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and value.flags.writeable:
                # A view: the caller's own array stays writeable, the record's does not.
                frozen = value.copy() if value.base is not None else value.view()
                frozen.flags.writeable = False
                object.__setattr__(self, field.name, frozen)
        self._check_axes()

    def _check_axes(self) -> None:
        lengths: dict[str, int] = {}
        for name, value, _, axes in self._declared():
            shape = (len(value),) if isinstance(value, tuple | Tokens) else np.shape(value)
            _check_shape(name, shape, axes.split(), lengths)

    def _check_dtypes(self) -> None:
        for name, value, held, _ in self._declared():
            if held:
                check_dtype(name, value, held)

    def _declared(self) -> Iterator[tuple[str, Any, str, str]]:
        """Name, value, what it holds and axes of each field in ``_axes`` that is set."""
        for names, declared in self._axes.items():
            held, _, axes = declared.rpartition(": ")
            for name in names.split():
                value = operator.attrgetter(name)(self)
                if value is not None:
                    yield name, value, held, axes

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns the record's numbers as a long table, one row a number.

        Raises:
            ImportError: if pandas is not installed (``pip install 'ecco-captum[data]'``).
        """
        raise TypeError(f"a {type(self).__name__} has no table")

    def to_arrow(self) -> pa.Table:
        r"""Returns the same table as Arrow's, for polars, DuckDB, datasets and Parquet files.

        Raises:
            ImportError: if pandas or pyarrow is missing (``pip install 'ecco-captum[arrow]'``).
            TypeError: if there is no table of this kind of record.
        """
        from ecco_captum.core.exchange import arrow_table

        return arrow_table(self.to_pandas())

    def to_xarray(self) -> xr.Dataset:
        r"""Returns the record's arrays with the names of their axes, as an ``xarray.Dataset``.

        Each variable is an array of the record, and each dimension an axis as the record's class
        documents it; what names the layers, and the texts of the tokens, are coordinates. Numbers
        and texts are attributes. Records inside this one are left to their own ``to_xarray``.

        Raises:
            ImportError: if xarray is not installed (``pip install 'ecco-captum[xarray]'``).
            TypeError: if the record has no axes.
        """
        from ecco_captum.core.exchange import labelled_arrays

        own = {name: (value, axes) for name, value, _, axes in self._declared() if "." not in name}
        return labelled_arrays(self, own)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        r"""Returns the record's fields as JSON, with its sentence and verdict where it has them.

        Arrays are lists of lists; NaN and infinity, which JSON lacks, are null. Values that lie on
        disk stay there: the place is named. :func:`load_record` does not read it; save for that.

        Args:
            path (str or PathLike, optional): where to write it as well; an existing file is
                replaced in one step.

        Returns:
            str: one line of ASCII.

        Examples::

            >>> import json
            >>> json.loads(attribution.to_json())["method"]
            'input_x_gradient'
        """
        from ecco_captum.core.exchange import plain

        text = json.dumps(plain(self), allow_nan=False)
        if path is not None:
            with replacing(Path(path)) as file:
                file.write(text.encode() + b"\n")
        return text

    def to_html(
        self, path: str | os.PathLike[str] | None = None, *, interactive: bool = True
    ) -> str:
        r"""Returns the record as one self-contained page: no network, light and dark.

        Args:
            path (str or PathLike, optional): where to write the page as well. An existing file is
                replaced in one step, so an interrupted write leaves the old one.
            interactive (bool, optional): whether the page's own scripts are in it, which describe
                what is under the pointer, from a disk and without network. Without them it is what
                untrusted notebooks show: tables. Default: ``True``

        Returns:
            str: the page.
        """
        return self._page(self.fragment(), path, interactive)

    def plot(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns the record as a figure for a paper.

        Args:
            width (float, optional): inches; 3.35 is one column, 7.0 are two.
            title (str, optional): above the picture. Default: none

        Returns:
            Figure: of matplotlib; ``.savefig("figure.pdf")`` writes it.

        Raises:
            ImportError: if matplotlib is not installed (``pip install 'ecco-captum[plot]'``).
            TypeError: if there is no figure of this kind of record.
        """
        raise TypeError(f"a {type(self).__name__} has no figure")

    def save(self, path: str | os.PathLike[str]) -> Path:
        r"""Writes the record to one ``.npz`` file.

        Args:
            path (str or PathLike): the file; an existing one is replaced in one step.

        Returns:
            Path: the file written.

        Raises:
            FileNotFoundError: if its folder is not there.
            TypeError: if a field holds what no file can keep.
            ValueError: if a field holds something else than its class declares.

        Examples::

            >>> path = attribution.save("capital.npz")
            >>> load_record(path).scores.shape
            (5, 10)
        """
        path = Path(path)
        arrays: dict[str, np.ndarray] = {}
        meta = {"format": _FORMAT, "record": _pack(self, "", arrays)}
        _unpack(meta["record"], arrays)  # what could not be read again is refused now
        arrays[_META] = np.array(json.dumps(meta, ensure_ascii=False))
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return path

    @classmethod
    def load(cls: type[R], path: str | os.PathLike[str]) -> R:
        r"""Reads a record that :meth:`save` wrote.

        Args:
            path (str or PathLike): the file.

        Returns:
            Record: a record of this class.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds no record, a damaged one, or one of another class.
        """
        record = load_record(path)
        if not isinstance(record, cls):
            raise ValueError(
                f"path: {os.fspath(path)!r} holds a {type(record).__name__}, not a {cls.__name__}; "
                "load_record() reads any record."
            )
        return record

    def explore(self, lm: LanguageModel | None = None) -> Any:
        r"""Returns an interactive explorer of this record, for a notebook.

        Args:
            lm (LanguageModel, optional): the model that the record is of. With it, an explorer
                computes what is chosen: other methods of an attribution and its faithfulness,
                every layer's best tokens, other factors and what they do. Default: the record's own
                numbers alone

        Raises:
            TypeError: if there is no explorer for this kind of record, or ``lm`` is no model.
            ValueError: if the record is of another model.

        Examples::

            >>> explorer = attribution.explore(lm)  # as a cell's last line it is shown
        """
        from ecco_captum.widgets import explore

        if lm is None:
            return explore(self)
        from ecco_captum.widgets.callbacks import functions

        return explore(self, **functions(lm, self))

    def fragment(self) -> str:
        r"""Returns the record's view as an HTML fragment, as a notebook cell shows it."""
        raise TypeError(f"a {type(self).__name__} has no static view")

    def _page(
        self, body: str, path: str | os.PathLike[str] | None, interactive: bool = True
    ) -> str:
        """The page around a view, written as well if asked."""
        from ecco_captum.display.page import page, without_scripts

        body = body if interactive else without_scripts(body)
        text = page(body, title=self.title, again=self._again)
        if path is not None:
            with replacing(Path(path)) as file:
                file.write(text.encode("utf-8"))
        return text

    def terminal(self) -> list[Any]:
        r"""Returns what a terminal shows: texts and rich's renderables, each a paragraph."""
        return [repr(self)]

    def __str__(self) -> str:
        from ecco_captum.display.terminal import as_text

        return as_text(self.terminal())

    def __rich__(self) -> Any:
        from ecco_captum.display.terminal import grouped

        return grouped(self.terminal())

    def _repr_html_(self) -> str:
        return self.fragment()


def load_record(path: str | os.PathLike[str]) -> Record:
    r"""Reads any record that :meth:`Record.save` wrote.

    Args:
        path (str or PathLike): the file.

    Returns:
        Record: a record of the class that was saved.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no record of this package, one of a newer format, or one that
            is damaged: the message names the file and what does not fit.

    Examples::

        >>> load_record(generation.save("text.npz"))
        Generation(' Paris.\n\nThe', 5 prompt tokens, 5 outputs, smollm2-135m)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {str(path)!r}")
    with path.open("rb") as file:
        arrays = _damage_of(path, read_arrays, file, _META) if is_zip(file) else {}
    if _META not in arrays:
        raise ValueError(
            f"path: {str(path)!r} holds no record of ecco-captum; files written by a record's "
            ".save() are accepted"
        )
    saved = _damage_of(path, _meta, arrays.pop(_META))
    if saved["format"] > _FORMAT:
        raise ValueError(
            f"path: {str(path)!r} has format {saved['format']}, this version reads up to "
            f"{_FORMAT}; a newer ecco-captum wrote it"
        )
    record = _damage_of(path, _unpack, saved["record"], arrays)
    if not isinstance(record, Record):
        raise ValueError(f"path: {str(path)!r} is damaged: no record is at its root")
    return record


def _damage_of(path: Path, read: Callable[..., Any], *args: Any) -> Any:
    """Reads a part of a file; a ValueError of it then names the file."""
    try:
        return read(*args)
    except RecursionError as error:
        raise ValueError(f"path: {str(path)!r} is damaged: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"path: {str(path)!r} is damaged: {error}") from error


def _meta(text: np.ndarray) -> dict[str, Any]:
    if text.ndim or text.dtype.kind != "U":
        raise ValueError(f"its description is an array of {text.dtype}, not a text")
    try:
        meta = json.loads(str(text[()]))
    except ValueError as error:
        raise ValueError(f"its description is no JSON ({error})") from error
    if not isinstance(meta, dict) or type(meta.get("format")) is not int or "record" not in meta:
        raise ValueError("its description has no whole number 'format' and no 'record'")
    return meta


def _pack(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """Turns a value into JSON; arrays go to ``arrays`` under their path and leave a reference."""
    if isinstance(value, Record | Tokens):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: _pack(getattr(value, name), f"{where}/{name}", arrays) for name in names}
        return {"!record": type(value).__name__, "fields": fields}
    if isinstance(value, np.ndarray):
        arrays[where] = value
        return {"!array": where}
    if isinstance(value, tuple | list):
        return [_pack(item, f"{where}/{index}", arrays) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): _pack(item, f"{where}/{key}", arrays) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, StoredValues):
        return {"!stored": {**dataclasses.asdict(value), "dtype": value.dtype.name}}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a record cannot hold a {type(value).__name__} (at {where or 'its root'})")


def _unpack(value: Any, arrays: Mapping[str, np.ndarray], where: str = "") -> Any:
    """Turns what :func:`_pack` made into the value; a ValueError says what does not fit, where."""
    if isinstance(value, list):
        return tuple(_unpack(item, arrays, f"{where}/{k}") for k, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    if "!array" in value:
        name = value["!array"]
        if not isinstance(name, str) or name not in arrays:
            raise ValueError(f"the array {name!r} is missing")
        return arrays[name]
    is_record, is_stored = "!record" in value, "!stored" in value
    fields = value.get("fields") if is_record else value["!stored"] if is_stored else value
    if not isinstance(fields, dict):
        raise ValueError(f"{where or 'the record'}: got {fields!r} for fields and their values")
    items = {name: _unpack(item, arrays, f"{where}/{name}") for name, item in fields.items()}
    if is_stored:
        return _built(StoredValues, {**items, "dtype": _dtype(items.get("dtype"), where)}, where)
    if is_record:
        kind = _record_class(value["!record"])
        renamed, dropped = getattr(kind, "_renamed", {}), getattr(kind, "_dropped", ())
        items = {renamed.get(name, name): item for name, item in items.items()}
        items = {name: item for name, item in items.items() if name not in dropped}
        return _built(kind, items, where)
    return items


def _built(kind: type, fields: Mapping[str, Any], where: str) -> Any:
    try:
        check_fields(kind, fields, _Classes())
        record = kind(**fields)
        if isinstance(record, Record):
            record._check_dtypes()
        return record
    except (ValueError, TypeError, IndexError) as error:
        place = f"{kind.__name__} at {where}" if where else kind.__name__
        raise ValueError(f"its {place} does not hold together ({error})") from error


def _dtype(name: Any, where: str) -> np.dtype[Any]:
    try:
        return np.dtype(str(name))
    except TypeError as error:
        raise ValueError(f"{where}: got {name!r} for a type of numbers") from error


def _record_class(name: Any) -> type[Record] | type[Tokens]:
    """Only classes that this package exports are built: a file cannot name others."""
    try:
        return _Classes()[name]
    except (KeyError, TypeError):
        raise ValueError(f"it holds a {name!r}, which this version does not know") from None


class _Classes(dict[str, Any]):
    """The classes that files hold, by name; a module is imported when it is asked for."""

    def __missing__(self, name: str) -> Any:
        import ecco_captum

        if name == "Tokens":
            return Tokens
        kind = None
        if name in Record._kinds:
            kind = getattr(importlib.import_module(Record._kinds[name]), name, None)
        elif name in dir(ecco_captum):
            kind = getattr(ecco_captum, name)
        if isinstance(kind, type) and issubclass(kind, Record):
            return kind
        raise KeyError(name)


def _check_shape(
    name: str, shape: tuple[int, ...], axes: list[str], lengths: dict[str, int]
) -> None:
    """Compares a shape with its axes' lengths; those met for the first time are added to them."""
    if axes[0] == "...":
        axes = axes[1:]
        compared = shape[max(0, len(shape) - len(axes)) :]
    else:
        compared = shape
    pairs = zip_longest(axes, compared[: len(axes)])
    wanted = [_wanted(axis, length, lengths) for axis, length in pairs]
    if list(compared) != wanted:
        shown = f"({', '.join(axes)}) = ({', '.join(map(str, wanted))})"
        raise ValueError(f"{name}: got shape {shape}, accepts {shown}")


def _wanted(axis: str, length: int | None, lengths: dict[str, int]) -> int | str:
    """How long an axis should be; its name where nothing says so."""
    terms = axis.split("+")
    new = [term for term in terms if not term.isdigit() and term not in lengths]
    rest = sum(int(t) if t.isdigit() else lengths[t] for t in terms if t not in new)
    if new and (length is None or len(new) > 1):
        return axis
    if new and length is not None:
        lengths[new[0]] = length - rest
        return length
    return rest
