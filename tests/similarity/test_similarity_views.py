"""A matrix of similarities as a page: every number, and grey where chance is."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from heat_samples import alike
from view_samples import HOSTILE, Outline

from ecco_captum.core.text import format_fixed
from ecco_captum.similarity.html import similarity_view
from ecco_captum.similarity.record import Similarity

CELL = re.compile(r"<td([^>]*)>([^<]*)</td>")


def cells(view: str) -> list[tuple[str, str]]:
    """Attributes and text of each, row after row."""
    return CELL.findall(view)


def test_every_number_stands_in_its_cell_and_the_rest_behind_it() -> None:
    given = alike()
    found = cells(similarity_view(**given))
    values = given["values"].ravel()
    assert [text for _, text in found] == [format_fixed(value) for value in values]
    assert "block 0 and embedding: 0.670 [0.650, 0.700] over texts; " in found[4][0]
    assert "shuffled tokens give 0.310, 95% of them up to 0.390: more than chance" in found[4][0]
    assert ": no more than chance" in found[2][0], found[2]


def test_what_chance_explains_is_grey_and_has_no_shade() -> None:
    given = alike()
    view = similarity_view(**given)
    grey = given["values"].ravel() <= given["null_95"].ravel()
    assert 0 < grey.sum() < grey.size
    for (attributes, _), chance in zip(cells(view), grey, strict=True):
        assert ("ecco-is-chance" in attributes) == chance
        assert ("ecco-s" in attributes and "background:rgba" in attributes) == (not chance)
    assert "Grey: no more alike than 95%" in view
    assert "Grey" not in similarity_view(**{**given, "null_95": given["null_mean"] - 1})


def test_without_a_null_nothing_is_claimed() -> None:
    given = {**alike(), "null_mean": None, "null_95": None, "interval": None}
    view = similarity_view(**given)
    assert "chance" not in "".join(attributes for attributes, _ in cells(view))
    assert '"by chance"' not in view


def test_a_wide_matrix_stays_one_table() -> None:
    view = similarity_view(**alike(70, 70))
    assert view.count("<table") == 1
    assert "<details" not in view
    # Cells in the script's order are those of the page.
    (data,) = (text for text in Outline(view).script_texts if text.lstrip().startswith("{"))
    shown = json.loads(data)["fields"][0]["texts"].split(" ")
    assert shown == [text for _, text in cells(view)]


def test_hostile_names_stay_text() -> None:
    count, plain = len(HOSTILE), [f"layer {k}" for k in range(len(HOSTILE))]
    found = Outline(similarity_view(np.eye(count), HOSTILE, HOSTILE, title="".join(HOSTILE)))
    assert sorted(set(found.tags)) == sorted(
        {*Outline(similarity_view(np.eye(count), plain, plain)).tags, "span", "bdi"}
    )
    assert not found.comments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((2, 2))}, r"values: got .*shape \(2, 2\), accepts"),
        ({"values": np.full((5, 4), np.nan)}, "values: got nan, accepts finite numbers"),
        ({"rows": ()}, r"rows: got \(\), accepts"),
        ({"null_95": np.zeros(3)}, r"null_95: got .*shape \(3,\), accepts"),
    ],
)
def test_wrong_input(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        similarity_view(**{**alike(), **change})


def test_half_a_null_is_refused() -> None:
    with pytest.raises(ValueError, match="null_mean, null_95: got one of them"):
        similarity_view(**{**alike(), "null_95": None})


def record(**change: Any) -> Similarity:
    given = alike(4, 4)
    names = {k: given.pop(k) for k in ("rows", "columns")}
    del given["measure"]
    settings = {"with_itself": True, "weight_by": "x", "definition": "paper"}
    made: dict[str, Any] = {**given, **names, "measure": "pwcca", "models": ("tiny", "tiny")}
    return Similarity(**{**made, "count": 1200, "settings": settings, **change})


def test_the_record_draws_itself() -> None:
    page = record().to_html()
    assert "PWCCA over 1,200 tokens of 1 text" in page
    assert "weighed by what they account for in the rows&#x27; neurons" in page
    assert "3 of 6 pairs are more alike than with shuffled tokens" in page


def test_a_record_without_null_and_interval_draws_itself() -> None:
    missing = np.full((4, 4), np.nan)
    bare = record(null_mean=missing, null_95=missing, interval=np.full((4, 4, 2), np.nan))
    page = bare.to_html()
    assert "shuffled" not in re.sub(r"(?s)<script.*?</script>|<style.*?</style>", "", page)
    assert "over texts" not in page
