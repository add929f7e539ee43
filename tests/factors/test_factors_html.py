"""The view of factors: exact weights, numbers in their cells, readable without its scripts."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise

import numpy as np
from factors_samples import (
    effects,
    every_factors_view,
    factors,
    factors_fragment,
    hostile_factors,
    stability,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from view_samples import HOSTILE, Outline, cells_of, embedded, sanitised

from ecco_captum.core.text import format_number, format_p, format_share, visible, with_interval
from ecco_captum.display.page import page
from ecco_captum.factors.family import family_p_values
from ecco_captum.factors.html import TOP_TOKENS, top_tokens

VIEWS = every_factors_view()
SHORT = factors(
    np.array([[0.0, 2.0, 0.5, 2.0, 1.0], [3.0, 0.0, 0.0, 0.0, 0.0]]), ("a", " b", "\n", "", " c")
)
SHADED = re.compile(r'title="([^"]+)"><span style="background:rgba\(139,98,225,(\d\.\d\d)\)')


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 9)),
        elements=st.floats(0, 2.0**100, width=32),
    )
)
@settings(max_examples=60, deadline=None)
def test_the_top_tokens_are_those_of_the_largest_weights(weights: np.ndarray) -> None:
    for row, top in zip(weights, top_tokens(weights), strict=True):
        assert len(top) == min(TOP_TOKENS, int((row > 0).sum())) == len(set(top))
        assert [row[i] for i in top] == sorted(row[row > 0], reverse=True)[:TOP_TOKENS]
        assert all(row[i] > row[j] or i < j for i, j in pairwise(top))
    data = embedded(factors(weights).fragment())
    assert base64.b64decode(data["scores"]) == weights.astype("<f4").tobytes()
    assert data["tops"] == top_tokens(weights)


def test_numbers_stand_in_their_cells() -> None:
    record = factors()
    header, *rows = cells_of(record.fragment())
    assert header == ["Factor", "Explained", "Its top tokens, with their weights"]
    weights, texts = record.weights, record.tokens.texts
    for k, (number, share, tops) in enumerate(rows):
        assert (number, share) == (str(k), format_share(record.contributions[k]))
        order = np.argsort(-weights[k], kind="stable")[:TOP_TOKENS]
        named = [f"{visible(texts[i])} {format_number(np.float32(weights[k, i]))}" for i in order]
        assert tops.split() == " ".join(named).split()
    assert len(rows) == len(weights)


def test_what_was_tested_of_each_factor_has_a_row() -> None:
    header, *rows = cells_of(VIEWS["all"])[-7:]
    columns = ["Where it is high", "Where it is low", "Random neurons, where high"]
    tested = ["More than random", "p", "p, all factors", "Verdict"]
    assert header == ["Factor", "Stability", *columns, *tested]
    by_component = {effect.component: effect for effect in effects()}
    family = dict(zip(by_component, family_p_values(effects()), strict=True))
    for k, row in enumerate(rows):
        cells = ["–"] * 7
        if k:
            effect = by_component[k]
            numbers = (effect.on_high, effect.on_low, effect.random_on_high, effect.margin)
            told = "supported" if family[k] <= 0.05 else "inconclusive"
            cells = [
                *map(with_interval, numbers),
                format_p(effect.p_value),
                format_p(family[k]),
                told,
            ]
        assert row == [str(k), f"{stability()[k]:.2f}", *cells]
    record = factors()
    text = Outline(sanitised(VIEWS["all"])).text
    assert text.index("Its top") < text.index("Does it hold?") < text.index(record.sentence)
    assert "Stability: mean cosine" in text
    assert text.endswith("1 is the same every time.")
    alone = Outline(sanitised(record.fragment(effects()))).text
    assert "Does it hold?" in alone
    assert "tability" not in alone
    alone = Outline(sanitised(record.fragment())).text
    assert alone.endswith(record.sentence)
    assert "Does it hold?" not in alone


def test_many_factors_are_folded_but_all_there() -> None:
    opened, folded = sanitised(factors_fragment(30)).split("<summary>18 more</summary>")
    assert len(re.findall("<tr>", opened)) == 31 + 13
    assert len(re.findall("<tr>", folded)) == 19


def test_tokens_are_shaded_by_their_part_of_the_largest_weight() -> None:
    first = [("position 1", "0.40"), ("position 3", "0.40"), ("position 4", "0.20")]
    expected = [*first, ("position 2", "0.10"), ("position 0", "0.40")]
    assert SHADED.findall(sanitised(SHORT.fragment())) == expected


def test_a_token_without_a_text_is_named_by_the_character_it_continues() -> None:
    assert cells_of(SHORT.fragment())[1][2].split()[:4] == ["b", "2.00", "⋯↵", "2.00"]


def test_a_factor_without_weight_is_said_so() -> None:
    assert [row[-1] for row in cells_of(VIEWS["without weight"])[1:3]] == ["none", "none"]


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
    view = hostile_factors().fragment()
    page(view, title="t").encode("utf-8")
    read = Outline(view)
    assert not {"img", "i"} & set(read.tags)
    assert read.tags.count("script") == 2
    assert read.tags.count("style") == 1
    assert read.comments == []
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    shown = Outline(sanitised(view)).text
    for text in ("</script><scr", "]]>", "&lt;", "$x^2$", "-->", "RLOevil", "U+D83D", "U+0000"):
        assert text in shown
    assert shown.index("</script><scr") < shown.index("NMF"), "in the line under the title, too"
    assert len(embedded(view)["texts"]) == len(HOSTILE)


@given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_any_texts_stay_inside(texts: list[str]) -> None:
    view = factors(np.ones((1, len(texts))), texts, model=texts[-1]).fragment()
    view.encode("utf-8")
    assert Outline(view).tags.count("script") == 2
    json.loads(Outline(view).script_texts[0])


def test_a_view_needs_no_ids() -> None:
    text = page("".join(VIEWS.values()), title="t")
    assert not re.search(r"\sid=", text), "ids could collide"
    keys = [re.search(r'data-view="(\w+)"', view) for view in VIEWS.values()]
    assert len({key.group(1) for key in keys if key}) == len(VIEWS)


def test_without_scripts_nothing_is_missing_but_the_text() -> None:
    shown = sanitised(VIEWS["all"])
    assert not re.search(r"<script|<style|<svg|role=|data-|tabindex", shown)
    text = Outline(shown).text
    assert text.startswith(factors().title + factors().subtitle)
    assert effects()[0].note in text


def test_weights_are_sent_once() -> None:
    weight = len(page(factors_fragment(30, 2000), title="t").encode("utf-8"))
    assert weight < 30 * 2000 * 4 * 4 / 3 + 25 * 2000 + 1500 * 30 + 60_000
