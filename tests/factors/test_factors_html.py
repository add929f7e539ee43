"""The view of factors: exact weights, numbers in their cells, readable without its scripts."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from factors_samples import every_factors_view, factors, facts, hostile_factors, random_text, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from view_samples import HOSTILE, Outline, sanitised

from ecco_captum.core.text import format_number, format_share, visible
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.page import page
from ecco_captum.factors.html import STRONGEST, factors_view, strongest_tokens

VIEWS = every_factors_view()
SHORT = Tokens(np.arange(5), ("a", " b", "\n", "", " c"), 5)
WEIGHTS = np.array([[0.0, 2.0, 0.5, 2.0, 1.0], [3.0, 0.0, 0.0, 0.0, 0.0]])
SHADED = re.compile(r'title="([^"]+)"><span style="background:rgba\(139,98,225,(\d\.\d\d)\)')


def embedded(view: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', view, re.DOTALL)
    return json.loads(text)


def rows_of(view: str) -> list[list[str]]:
    """Texts of the cells of all tables, without scripts, the headers too."""
    rows = re.findall(r"<tr>(.*?)</tr>", sanitised(view))
    return [[Outline(cell).text for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 9)),
        elements=st.floats(0, 2.0**100, width=32),
    )
)
@settings(max_examples=60, deadline=None)
def test_the_strongest_tokens_are_those_of_the_largest_weights(weights: np.ndarray) -> None:
    for row, top in zip(weights, strongest_tokens(weights), strict=True):
        assert len(top) == min(STRONGEST, int((row > 0).sum())) == len(set(top))
        assert [row[i] for i in top] == sorted(row[row > 0], reverse=True)[:STRONGEST]
        assert all(row[i] > row[j] or i < j for i, j in pairwise(top))
    tokens = Tokens(np.arange(weights.shape[1]), ("x",) * weights.shape[1], 0)
    data = embedded(factors_view(tokens, weights))
    assert base64.b64decode(data["scores"]) == weights.astype("<f4").tobytes()
    assert data["tops"] == strongest_tokens(weights)


def test_numbers_stand_in_their_cells() -> None:
    header, *rows = rows_of(factors(effects=None, stability=None))
    assert header == ["Factor", "Explained", "Its strongest tokens, with their weights"]
    shares, weights, texts = facts()["explained"], smooth(), random_text().texts
    for k, (number, share, strongest) in enumerate(rows):
        assert (number, share) == (str(k), format_share(shares[k]))
        order = np.argsort(-weights[k], kind="stable")[:STRONGEST]
        named = [f"{visible(texts[i])} {format_number(np.float32(weights[k, i]))}" for i in order]
        assert strongest.split() == " ".join(named).split()
    assert len(rows) == len(weights)


def test_what_holds_of_each_factor_has_a_row() -> None:
    given = facts()
    header, *rows = rows_of(factors())[-7:]
    assert header == ["Factor", "Stability", "What its ablation does"]
    for k, row in enumerate(rows):
        assert row == [
            str(k),
            f"{given['stability'][k]:.2f}",
            given["effects"]["What its ablation does"][k] or "–",
        ]
    text = Outline(sanitised(factors())).text
    assert text.index("Its strongest") < text.index("Does it hold?") < text.index("It holds.")
    assert "Stability: mean cosine" in text
    alone = Outline(sanitised(factors(stability=None))).text
    assert "Does it hold?" in alone
    assert "tability" not in alone
    alone = Outline(sanitised(factors(stability=None, effects=None))).text
    assert alone.endswith("It holds.")
    assert "Does it hold?" not in alone


def test_many_factors_are_folded_but_all_there() -> None:
    opened, folded = sanitised(factors(30)).split("<summary>18 more</summary>")
    assert len(re.findall("<tr>", opened)) == 31 + 13
    assert len(re.findall("<tr>", folded)) == 19


def test_tokens_are_shaded_by_their_part_of_the_largest_weight() -> None:
    found = SHADED.findall(sanitised(factors_view(SHORT, WEIGHTS)))
    first = [("position 1", "0.40"), ("position 3", "0.40"), ("position 4", "0.20")]
    assert found == [*first, ("position 2", "0.10"), ("position 0", "0.40")]
    given = SHADED.findall(sanitised(factors_view(SHORT, WEIGHTS, top_tokens=[[4, 0], []])))
    assert given == [("position 4", "0.20"), ("position 0", "0.00")]


def test_a_token_without_a_text_is_named_by_the_character_it_continues() -> None:
    assert rows_of(factors_view(SHORT, WEIGHTS))[1][1].split()[:4] == ["b", "2.00", "⋯↵", "2.00"]


def test_a_factor_without_weight_is_said_so() -> None:
    assert [row[-1] for row in rows_of(VIEWS["without weight"])[1:3]] == ["none", "none"]


def test_texts_stand_apart() -> None:
    data = embedded(VIEWS["some texts"])
    assert data["sections"] == [["text 0", 0], ["text 1", 100], ["text 2", 250]]
    places = re.findall(r'title="position (\d+), text (\d)"', VIEWS["some texts"])
    assert len(places) > 100
    assert all(int(text) == (int(at) >= 100) + (int(at) >= 250) for at, text in places)
    assert embedded(VIEWS["weights alone"])["sections"] == [["prompt", 0], ["generated", 20]]
    assert embedded(VIEWS["all"])["sections"] == [["", 0]]
    assert "text" not in "".join(re.findall(r'title="position[^"]*"', VIEWS["all"]))


def test_hostile_texts_stay_texts() -> None:
    view = hostile_factors()
    page(view, title="t").encode("utf-8")
    read = Outline(view)
    assert not {"img", "i"} & set(read.tags)
    assert read.tags.count("script") == 2
    assert read.tags.count("style") == 1
    assert read.comments == []
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    shown = Outline(sanitised(view)).text
    for text in ("</script><scr", "]]>", "&lt;", "$x^2$", "-->", "RLOevil", "U+D83D", "U+0000"):
        assert shown.count(text) >= 2, "as a token, and in a sentence"
    assert len(embedded(view)["texts"]) == len(HOSTILE)


@given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_any_texts_stay_inside(texts: list[str]) -> None:
    tokens = Tokens(np.arange(len(texts)), tuple(texts), 0)
    view = factors_view(
        tokens, np.ones((1, len(texts))), effects={"a": [texts[0]]}, sentence=texts[-1]
    )
    view.encode("utf-8")
    assert Outline(view).tags.count("script") == 2
    json.loads(Outline(view).script_texts[0])


def test_a_view_needs_no_network_and_no_ids() -> None:
    text = page("".join(VIEWS.values()), title="t")
    drawn = text.replace("http://www.w3.org/2000/svg", "")  # a name, never fetched
    assert not re.search(r"https?:|url\(|@import|<link|<img|src=|fetch\(", drawn)
    assert not re.search(r"\sid=", text), "ids could collide"
    keys = [re.search(r'data-view="(\w+)"', view) for view in VIEWS.values()]
    assert len({key.group(1) for key in keys if key}) == len(VIEWS)


def test_without_scripts_nothing_is_missing_but_the_text() -> None:
    shown = sanitised(VIEWS["all"])
    assert not re.search(r"<script|<style|<svg|role=|data-|tabindex", shown)
    text = Outline(shown).text
    assert text.startswith("A question?s")
    assert text.endswith("n")
    assert all(effect in text for effect in facts()["effects"]["What its ablation does"][1:])


def test_weights_are_sent_once() -> None:
    weight = len(page(factors(30, 2000), title="t").encode("utf-8"))
    assert weight < 30 * 2000 * 4 * 4 / 3 + 25 * 2000 + 1500 * 30 + 60_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": WEIGHTS[:, :4]}, r"weights: got float64 of shape \(2, 4\), accepts .*any, 5"),
        ({"weights": WEIGHTS[0]}, r"weights: got float64 of shape \(5,\)"),
        ({"weights": WEIGHTS[:0]}, r"weights: got float64 of shape \(0, 5\)"),
        ({"weights": -WEIGHTS}, "weights: got -2, accepts finite numbers from 0"),
        ({"weights": WEIGHTS * np.nan}, "weights: got nan"),
        ({"weights": WEIGHTS * 1e300}, r"weights: got 2e\+300"),
        ({"explained": [0.1]}, r"explained: got .*\(1,\), accepts numbers of \(2\)"),
        ({"explained": [0.1, 4.1]}, "explained: got 4.1, accepts finite numbers from 0 to 1"),
        ({"stability": [0.1, np.nan]}, "stability: got nan"),
        ({"effects": {"a": ["one"]}}, r"effects: got \['one'\] for 'a', accepts .* each of 2"),
        ({"effects": {"a": "it"}}, "effects: got 'it' for 'a'"),
        ({"top_tokens": [[0]]}, "top_tokens: got 1 rows, accepts one for each of 2"),
        ({"top_tokens": [[0], [5]]}, r"top_tokens: got \[5\], accepts positions .* 0 to 4"),
        ({"top_tokens": [[0], [-1]]}, r"top_tokens: got \[-1\]"),
        ({"top_tokens": [[0], [0.5]]}, r"top_tokens: got \[0.5\]"),
        ({"sequences": [1, 3]}, r"sequences: got \[1, 3\], accepts ascending .* below 5"),
        ({"sequences": [0, 5]}, r"sequences: got \[0, 5\]"),
        ({"sequences": [0, 2, 2]}, "sequences: got"),
        ({"sequences": []}, r"sequences: got \[\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factors_view(SHORT, **{"weights": WEIGHTS, **change})


def test_the_same_input_gives_the_same_view() -> None:
    assert factors() == factors()
    assert factors() != factors(sentence="Other.")
