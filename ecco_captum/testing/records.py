"""The battery for records: frozen, kept in files, shown in every way, and free of models."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import re
import tempfile
import warnings
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from ecco_captum.core.checks import UnsupportedError
from ecco_captum.core.record import Record, load_record
from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens

_ELSEWHERE = re.compile(r"https?:|url\(|@import|fetch\(|XMLHttpRequest")
_NAME_ONLY = "http://www.w3.org/2000/svg"  # a name, never fetched


def check_record(record: Record) -> None:
    r"""Checks that a record is one.

    It is frozen and its arrays are read-only; a file gives it back bit for bit; it holds no model
    and no widget; its table, page, figure and explorer work, or are refused with a ``TypeError``;
    its page calls on no network, is the same every time, and has no scripts where none are wanted.

    Args:
        record (Record): of a class of this package or of your own.

    Raises:
        AssertionError: with what is wrong.
    """
    name = type(record).__name__
    assert isinstance(record, Record), f"{name}: it is derived from no Record"
    _check_frozen(record, name)
    _check_contents(record, name)
    _check_file(record, name)
    assert repr(record), f"{name}: its repr is empty"
    assert len(repr(record)) < 10_000, f"{name}: its repr is too long for a terminal"
    _check_table(record, name)
    _check_page(record, name)
    _check_figure(record, name)
    _check_explorer(record, name)


def _check_frozen(record: Record, name: str) -> None:
    for field in dataclasses.fields(record):
        try:
            setattr(record, field.name, None)
        except dataclasses.FrozenInstanceError:
            pass
        else:
            raise AssertionError(f"{name}.{field.name} can be assigned")
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable, f"{name}.{field.name} can be written to"


def _check_contents(value: Any, where: str) -> None:
    """Arrays, texts, numbers and further records only: no tensor, no model, no widget."""
    plain = (np.ndarray, np.generic, str, bytes, int, float, bool, type(None), StoredValues)
    if isinstance(value, plain):
        return
    if isinstance(value, Record | Tokens):
        for field in dataclasses.fields(value):
            _check_contents(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_contents(item, f"{where}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            _check_contents(item, f"{where}[{index}]")
    else:
        raise AssertionError(f"{where} is a {type(value).__name__}, which no file can keep")


def _check_file(record: Record, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        again = load_record(record.save(Path(folder) / "record.npz"))
        assert [path.name for path in Path(folder).iterdir()] == ["record.npz"], (
            f"{name}: saving left more than its file"
        )
    assert type(again) is type(record), f"{name}: its file holds a {type(again).__name__}"
    _check_equal(again, record, name)


def _check_equal(again: Any, value: Any, where: str) -> None:
    if isinstance(value, Record | Tokens):
        for field in dataclasses.fields(value):
            values = (getattr(again, field.name), getattr(value, field.name))
            _check_equal(*values, f"{where}.{field.name}")
    elif isinstance(value, np.ndarray):
        assert again.dtype == value.dtype, f"{where}: the file changes its type"
        np.testing.assert_array_equal(again, value, err_msg=f"{where}: the file changes it")
    elif isinstance(value, Mapping):
        assert {str(key) for key in again} == {str(key) for key in value}, f"{where}: other keys"
        for key, item in value.items():
            _check_equal(again[str(key)], item, f"{where}[{key!r}]")
    elif isinstance(value, tuple | list):
        assert len(again) == len(value), f"{where}: another length"
        for index, (a, b) in enumerate(zip(again, value, strict=True)):
            _check_equal(a, b, f"{where}[{index}]")
    else:
        same = again == value or (again != again and value != value)  # NaN is not equal to itself
        assert same, f"{where}: {again!r} is not {value!r}"


def _check_table(record: Record, name: str) -> None:
    if importlib.util.find_spec("pandas") is None:
        return
    try:
        table = record.to_pandas()
    except TypeError as error:
        assert name in str(error), f"{name}.to_pandas: the error does not name the record"
        return
    assert len(table), f"{name}.to_pandas: it has no row"
    assert table.columns.is_unique, f"{name}.to_pandas: two columns of one name"


class _Reader(HTMLParser):
    """What a parser finds: tags, attributes that would run code, and calls on the network."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.elsewhere: list[str] = []
        self.data_only = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.data_only = ("type", "application/json") in attrs
        self.handlers += [attribute for attribute, _ in attrs if attribute.startswith("on")]
        loads = [value or "" for attribute, value in attrs if attribute in ("src", "href")]
        self.elsewhere += [value for value in loads if not value.startswith("#")]
        self.elsewhere += _ELSEWHERE.findall(dict(attrs).get("style") or "")

    def handle_data(self, data: str) -> None:
        # Texts of a record may name an address; scripts and style sheets may not.
        if self.cdata_elem and not self.data_only:
            self.elsewhere += _ELSEWHERE.findall(data.replace(_NAME_ONLY, ""))


def _check_page(record: Record, name: str) -> None:
    try:
        page = record.to_html()
    except TypeError as error:
        assert name in str(error), f"{name}.to_html: the error does not name the record"
        return
    assert page.startswith("<!doctype html>"), f"{name}.to_html: no whole document"
    assert page == record.to_html(), f"{name}.to_html: another page each time"
    page.encode("utf-8")
    read = _Reader(page)
    assert not read.elsewhere, f"{name}.to_html: it calls on {read.elsewhere}"
    assert not read.handlers, f"{name}.to_html: an attribute runs code"
    plain = _Reader(record.to_html(interactive=False))
    assert "script" not in plain.tags, f"{name}.to_html(interactive=False): it has scripts"
    assert str(record.fragment()) in page, f"{name}.fragment: it is not what the page shows"
    assert record.title, f"{name}.title: it has none"


def _check_figure(record: Record, name: str) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        return
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of letters that no font has
        try:
            figure = record.plot()
        except UnsupportedError:
            return
        except TypeError as error:
            assert name in str(error), f"{name}.plot: the error does not name the record"
            return
        figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG"), f"{name}.plot: no figure"


def _check_explorer(record: Record, name: str) -> None:
    try:
        explorer = record.explore()
    except TypeError as error:
        assert name in str(error), f"{name}.explore: the error does not name the record"
        return
    bundle = explorer._repr_mimebundle_()  # ipython's protocol
    assert bundle is not None, f"{name}.explore: a notebook shows nothing"
    explorer.close()
