"""Records as JSON, as Arrow tables and as arrays with named axes."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_samples import rankings, watched

from ecco_captum import Generation, Record, load_record
from ecco_captum.core.exchange import plain

SAVED = sorted((Path(__file__).parents[1] / "saved_records").glob("*.npz"))


def saved(name: str) -> Any:
    return load_record(SAVED[[path.stem for path in SAVED].index(name)])


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_json_has_every_field(path: Path) -> None:
    record = load_record(path)
    read = json.loads(record.to_json())
    assert read["record"] == type(record).__name__
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            held = np.array(read[field.name], dtype=value.dtype).reshape(value.shape)
            np.testing.assert_array_equal(held, value)
        elif isinstance(value, str | int | None):
            assert read[field.name] == value
        assert field.name in read
    assert read.get("sentence", "") == getattr(record, "sentence", "")


def test_json_has_no_nan() -> None:
    given = {"a": np.array([np.nan, np.inf, 1.5]), "b": (np.float32(2), True, None)}
    assert plain(given) == {"a": [None, None, 1.5], "b": [2.0, True, None]}


def test_json_goes_to_a_file_in_one_step(tmp_path: Path) -> None:
    text = rankings().to_json(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text(encoding="ascii") == text + "\n"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        rankings().to_json(tmp_path / "none" / "a.json")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"ecco-captum\[arrow\]"):
        rankings().to_arrow()
    with pytest.raises(ImportError, match=r"ecco-captum\[xarray\]"):
        rankings().to_xarray()


@dataclasses.dataclass(frozen=True, eq=False)
class WithoutAxes(Record):
    name: str = "a"


def test_a_record_without_axes_is_refused() -> None:
    with pytest.raises(TypeError, match="WithoutAxes has no axes"):
        WithoutAxes().to_xarray()


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_arrow_holds_the_table(path: Path) -> None:
    pytest.importorskip("pyarrow")
    record = load_record(path)
    table = record.to_arrow()
    assert table.column_names == [str(name) for name in record.to_pandas().columns]
    assert table.num_rows == len(record.to_pandas())


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_every_record_has_named_axes(path: Path) -> None:
    pytest.importorskip("xarray")
    record = load_record(path)
    data = record.to_xarray()
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name in data and isinstance(value, np.ndarray):
            np.testing.assert_array_equal(data[field.name].values, value)
    assert data.attrs["record"] == type(record).__name__
    assert set(record._labels) <= set(data.coords)


def test_axes_are_those_of_the_class() -> None:
    pytest.importorskip("xarray")
    data = saved("attribution").to_xarray()
    assert data["scores"].dims == ("explained", "positions")
    assert data["token"].dims == ("positions",)
    assert tuple(data["token"].values) == saved("attribution").tokens.texts
    several = watched(ranks=np.ones((3, 5, 2), int)).to_xarray()
    assert several["ranks"].dims == ("positions", "layers", "watched")
    assert several["positions"].dims == ("positions",)
    assert several["layer_name"].values[0] == "embedding"
    assert saved("probes").to_xarray()["confusion"].dims == ("rows", "labels", "labels_2")
    alone = watched().to_xarray()
    assert alone["ranks"].dims == ("layers", "watched")


def test_axes_of_a_generation() -> None:
    pytest.importorskip("xarray")
    generation = rankings().generation
    assert isinstance(generation, Generation)
    data = generation.to_xarray()
    assert data["logits"].dims == ("outputs",)
    assert data["tokens"].dims == ("prompt+outputs",)
