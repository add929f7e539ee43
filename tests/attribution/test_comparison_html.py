"""Two attributions side by side: both sides' exact numbers, and how far they agree."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from view_samples import Outline, countries, hostile, sanitised

from ecco_captum.attribution.comparison_html import comparison_view
from ecco_captum.attribution.html import pack_scores
from ecco_captum.core.text import format_number, format_share, visible
from ecco_captum.display.page import page

SOME = [0, 4, 8]


def both(**options: object) -> tuple[str, np.ndarray, np.ndarray]:
    """A comparison of three outputs, the right side signed, with its scores."""
    tokens, left = countries()
    right = np.roll(countries(signed=True)[1][SOME], 1, axis=0)
    right[np.arange(len(tokens)) >= tokens.prompt_length + np.array(SOME)[:, None]] = 0
    given = {"labels": ("plain", "signed"), "outputs": SOME, **options}
    return comparison_view(tokens, left[SOME], right, **given), left[SOME], right


def embedded(view: str) -> dict:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', view, re.DOTALL)
    return json.loads(text)


def test_both_sides_arrive_bit_for_bit() -> None:
    view, *sides = both()
    data, (tokens, _) = embedded(view), countries()
    assert data["outputs"] == SOME
    for sent, scores in zip(data["sides"], sides, strict=True):
        assert base64.b64decode(sent["scores"]) == pack_scores(tokens, scores, outputs=SOME)
    assert [(side["label"], side["signed"]) for side in data["sides"]] == [
        ("plain", False),
        ("signed", True),
    ]


def test_without_scripts_sources_and_agreement_are_read_as_a_table() -> None:
    values = np.array([0.5, np.nan, -0.25])
    view, left, right = both(agreement={"Spearman": values}, title="Same?", note="It holds.")
    tokens, _ = countries()
    shown = sanitised(view)
    text = Outline(shown).text
    assert text.startswith("Same?Agreement, mean of 3 generated tokens: Spearman 0.125.")
    assert text.endswith("It holds.")
    assert "plain: strongest sources, with their sharesigned: strongest" in text
    assert "share (below 0: it spoke against)Spearman" in text
    rows = re.findall(r"<tr>(.*?)</tr>", shown)[1:]
    for k, t in enumerate(SOME):
        cells = [Outline(cell).text for cell in re.findall(r"<t[hd].*?</t[hd]>", rows[k])]
        assert cells[:2] == [visible(tokens.texts[tokens.prompt_length + t]), str(t)]
        for cell, scores in ((cells[2], left[k]), (cells[3], right[k])):
            top = int(np.argmax(np.abs(scores)))
            share = format_share(float(scores[top] / np.abs(scores).sum(dtype=np.float64)))
            assert cell.startswith(f"{visible(tokens.texts[top])} {share}")
        assert cells[4] == ("–" if np.isnan(values[k]) else format_number(values[k]))


def test_a_comparison_without_measures_says_nothing_of_agreement() -> None:
    assert "Agreement" not in Outline(sanitised(both()[0])).text


def test_hostile_texts_add_no_tag_and_no_attribute() -> None:
    tokens, scores = hostile()
    words = {"labels": ("<b>", '" onload="x'), "title": "<script>", "note": "</p><b>"}
    names = {"<i>&": np.zeros(len(scores))}
    read = Outline(comparison_view(tokens, scores, scores, agreement=names, **words))
    known = Outline(both(agreement={"Spearman": np.zeros(3)}, note="n")[0])
    assert set(read.tags) == set(known.tags)
    assert {name for name, _ in read.attributes} == {name for name, _ in known.attributes}


def test_the_page_refers_to_no_network() -> None:
    text = page(both()[0], title="t")
    assert not re.search(r"https?:|url\(|@import|<link|<img|src=|fetch\(|XMLHttpRequest", text)


@pytest.mark.parametrize("values", [[0.5], [[0.1], [0.2], [0.3]], [0.1, np.inf, 0.2]])
def test_measures_that_do_not_fit_are_refused(values: list) -> None:
    with pytest.raises(ValueError, match=r"agreement: got shape .* for 'overlap', accepts \(3,\)"):
        both(agreement={"overlap": np.array(values)})


def test_either_side_is_checked() -> None:
    tokens, scores = countries()
    with pytest.raises(ValueError, match="scores: got shape"):
        comparison_view(tokens, scores, scores[:-1])
    with pytest.raises(ValueError, match="scores: got nan"):
        comparison_view(tokens, np.where(scores > 0, np.nan, 0), scores)
