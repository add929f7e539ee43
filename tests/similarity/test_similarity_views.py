"""A matrix of similarities as a page: every number, and grey where chance is."""

from __future__ import annotations

import json
import re

import numpy as np
from record_samples import similarity
from view_samples import Outline

from ecco_captum.core.text import format_fixed

CELL = re.compile(r"<td([^>]*)>([^<]*)</td>")


def cells(view: str) -> list[tuple[str, str]]:
    """Attributes and text of each, row after row."""
    return CELL.findall(view)


def without(*names: str) -> str:
    """The view of a record where some of its tests were not made."""
    record = similarity()
    missing = {name: np.full(getattr(record, name).shape, np.nan) for name in names}
    return similarity(**missing).fragment()


def test_every_number_stands_in_its_cell_and_the_rest_behind_it() -> None:
    record = similarity()
    drawn = cells(record.fragment())
    assert [text for _, text in drawn] == [format_fixed(value) for value in record.values.ravel()]
    assert "block 0 and embedding: 0.670 [0.650, 0.700] over texts; " in drawn[4][0]
    said = "tokens in other places give 0.310, 95% of draws up to 0.390; "
    assert f"{said}p = 0.005, adjusted 0.01: more than chance" in drawn[4][0]
    assert ": no more than chance" in drawn[2][0], drawn[2]


def test_what_chance_explains_is_grey_and_has_no_shade() -> None:
    record = similarity()
    view, grey = record.fragment(), record.values.ravel() <= record.null_95.ravel()
    assert 0 < grey.sum() < grey.size
    for (attributes, _), chance in zip(cells(view), grey, strict=True):
        assert ("ecco-is-chance" in attributes) == chance
        assert ("ecco-s" in attributes and "background:rgba" in attributes) == (not chance)
    assert "Grey: not significantly more alike" in view
    assert "Grey" not in similarity(null_95=record.null_mean - 1).fragment()


def test_without_a_null_and_an_interval_nothing_is_claimed() -> None:
    view = without("null_mean", "null_95", "interval")
    assert "chance" not in "".join(attributes for attributes, _ in cells(view))
    assert '"by chance"' not in view
    plain = re.sub(r"(?s)<script.*?</script>|<style.*?</style>", "", view)
    assert "shuffled" not in plain
    assert "over texts" not in plain
    assert "[" not in "".join(attributes for attributes, _ in cells(without("interval")))


def test_a_wide_matrix_stays_one_table() -> None:
    view = similarity((70, 70)).fragment()
    assert view.count("<table") == 1
    assert "<details" not in view
    # Cells in the script's order are those of the page.
    (data,) = (text for text in Outline(view).script_texts if text.lstrip().startswith("{"))
    shown = json.loads(data)["fields"][0]["texts"].split(" ")
    assert shown == [text for _, text in cells(view)]


def test_the_record_says_what_was_compared() -> None:
    plain = Outline(similarity((4, 4)).fragment()).text
    assert "PWCCA over 1,200 tokens of 1 text" in plain
    assert "weighed by what they account for in the rows' neurons" in plain
    assert "3 of 6 pairs are more alike than with one side shifted along its text" in plain
