"""Every kind of record passes the battery, and the battery fails what breaks its promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from factors_samples import hostile_factors
from heat_samples import every_record, hostile_records
from view_samples import HOSTILE as TEXTS
from view_samples import faithful, hostile

import ecco_captum
from ecco_captum import Record, Report, load_record
from ecco_captum.testing import check_record

NUMBERS = count()
SAVED = sorted((Path(__file__).parents[1] / "saved_records").glob("*.npz"))
# Of several positions there is no figure: test_lens_views.py.
MADE = {name: record for name, record in every_record().items() if name != "positions"}
HOSTILE = {
    **{name: record for name, record in hostile_records().items() if name != "positions"},
    "attribution": hostile(),
    "comparison": hostile().compare(hostile(model=TEXTS[5])),
    "faithfulness": faithful(attribution=hostile()),
    "factors": hostile_factors(),
    "generation": hostile().generation,
    "report": Report(hostile().generation, factors=hostile_factors(), refused={"probes": TEXTS[0]}),
}


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_saved_record(path: Path) -> None:
    check_record(load_record(path))


@pytest.mark.parametrize("name", MADE)
def test_a_record_of_numbers(name: str) -> None:
    check_record(MADE[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_record_of_hostile_texts(name: str) -> None:
    check_record(HOSTILE[name])


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_page_has_the_type_that_all_views_share(path: Path) -> None:
    record = load_record(path)
    if type(record).fragment is not Record.fragment:
        assert ".ecco h2 {" in record.to_html()


def test_no_kind_is_left_out() -> None:
    public = [getattr(ecco_captum, name) for name in ecco_captum.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Record)}
    assert {type(load_record(path)) for path in SAVED} == kinds - {Record}


@dataclass(frozen=True, eq=False)
class Shown(Record):
    """A record whose fragment is given."""

    title: ClassVar[str] = "What?"
    html: str = "<p>Text that names https://example.org</p>"

    def fragment(self) -> str:
        return self.html


@dataclass(frozen=True, eq=False)
class Changing(Shown):
    def fragment(self) -> str:
        return f"<p>{next(NUMBERS)}</p>"


@dataclass(frozen=True, eq=False)
class Writable(Shown):
    values: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True, eq=False)
class Keeping(Shown):
    model: object = object


def test_a_record_of_another_package() -> None:
    check_record(Shown())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Shown('<img src="https://example.org/a.png">'), "calls on .*https://example.org/a.png"),
        (Shown("<style>p{background:url(a.png)}</style>"), r"calls on .*url\("),
        (Shown('<p style="background:url(a.png)">a</p>'), r"calls on .*url\("),
        (Shown("<script>fetch('a')</script>"), r"calls on .*fetch\("),
        (Shown('<p onclick="alert()">a</p>'), "an attribute runs code"),
        (Changing(), "another page each time"),
        (Writable(), "Writable.values can be written to"),
        (Keeping(), "Keeping.model is a type, which no file can keep"),
    ],
)
def test_what_breaks_a_promise_is_caught(record: Record, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_record(record)
