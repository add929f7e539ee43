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
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

import numpy as np

from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ecco_captum.models.language_model import LanguageModel


def data_frame(values: Any, columns: list[str] | None = None) -> pd.DataFrame:
    """Returns a table; without pandas, an ImportError names the extra that has it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'ecco-captum[data]'") from error
    return pandas.DataFrame(values, columns=columns)


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

    _kinds: ClassVar[dict[str, str]] = {}
    # From names of fields to the names of their axes; axes of one name are equally long.
    _axes: ClassVar[Mapping[str, str]] = {}
    # Fields of files that an older version wrote, and what they are called now.
    _renamed: ClassVar[Mapping[str, str]] = {}

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
        for names, axes in self._axes.items():
            for name in names.split():
                value = getattr(self, name)
                if value is None:
                    continue
                shape = (len(value),) if isinstance(value, tuple) else np.shape(value)
                for axis, length in zip(axes.split(), shape, strict=False):
                    lengths.setdefault(axis, length)
                wanted = [lengths.get(axis, axis) for axis in axes.split()]
                if list(shape) != wanted:
                    shown = f"({axes.replace(' ', ', ')}) = ({', '.join(map(str, wanted))})"
                    raise ValueError(f"{name}: got shape {shape}, accepts {shown}")

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns the record's numbers as a long table, one row a number.

        Raises:
            ImportError: if pandas is not installed (``pip install 'ecco-captum[data]'``).
        """
        raise TypeError(f"a {type(self).__name__} has no table")

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

        Examples::

            >>> path = attribution.save("capital.npz")
            >>> load_record(path).scores.shape
            (5, 10)
        """
        path = Path(path)
        arrays: dict[str, np.ndarray] = {}
        meta = {"format": _FORMAT, "record": _pack(self, "", arrays)}
        arrays[_META] = np.array(json.dumps(meta, ensure_ascii=False))
        with _replacing(path) as file:
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
            ValueError: if the file holds no record, or one of another class.
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
        text = page(body, title=self.title)
        if path is not None:
            with _replacing(Path(path)) as file:
                file.write(text.encode("utf-8"))
        return text

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
        ValueError: if the file holds no record of this package, or one of a newer format.

    Examples::

        >>> load_record(generation.save("text.npz"))
        Generation(' Paris.\n\nThe', 5 prompt tokens, 5 outputs, smollm2-135m)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {str(path)!r}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            meta = json.loads(str(arrays.pop(_META)[()]))
    except (ValueError, KeyError, OSError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(
            f"path: {str(path)!r} holds no record of ecco-captum; files written by a record's "
            f".save() are accepted ({type(error).__name__})"
        ) from error
    if meta["format"] > _FORMAT:
        raise ValueError(
            f"path: {str(path)!r} has format {meta['format']}, this version reads up to {_FORMAT}; "
            "a newer ecco-captum wrote it"
        )
    return _unpack(meta["record"], arrays)


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


def _unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "!array" in value:
        return arrays[value["!array"]]
    if "!stored" in value:
        held = value["!stored"]
        return StoredValues(
            **{**held, "rows": tuple(held["rows"]), "dtype": np.dtype(held["dtype"])}
        )
    if "!record" in value:
        kind = _record_class(value["!record"])
        renamed = getattr(kind, "_renamed", {})
        fields = {
            renamed.get(name, name): _unpack(item, arrays) for name, item in value["fields"].items()
        }
        return kind(**fields)
    return {key: _unpack(item, arrays) for key, item in value.items()}


def _record_class(name: str) -> type[Record] | type[Tokens]:
    """Only classes that this package exports are built: a file cannot name others."""
    import ecco_captum

    if name == "Tokens":
        return Tokens
    if name in Record._kinds:
        return getattr(importlib.import_module(Record._kinds[name]), name)
    kind = getattr(ecco_captum, name, None) if name in dir(ecco_captum) else None
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise ValueError(f"path: it holds a {name!r}, which this version does not know")
    return kind


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
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
