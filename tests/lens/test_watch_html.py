"""Watched words, predictions and pairs: what wins, where it changes, and how it is said."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from heat_samples import OVERTAKEN, overtaken, rising
from record_samples import by_id, pairs, predictions, watched
from view_samples import Outline, sanitised

from ecco_captum.lens.record import LayerPredictions


def rows(view: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each row of the body: its own attributes, then attributes and text of its cells."""
    tags = re.findall(r"<tr([^>]*)>(<th scope=\"row\".*?)</tr>", view)
    cell = r"<td([^>]*)>(.*?)</td>"
    return [
        (name, [(has, Outline(text).text) for has, text in re.findall(cell, row)])
        for name, row in tags
    ]


def marked(view: str, mark: str) -> np.ndarray:
    return np.array([[f"ecco-is-{mark}" in has for has, _ in row] for _, row in rows(view)])


def predicted(**change: Any) -> LayerPredictions:
    """Three places; the true token is third, then first."""
    words = (" a", "\n", " the", " of", " in", " Paris", ".")
    fields = {
        "layers": np.arange(3),
        "true_id": 5,
        "token_ids": np.array([[0, 1, 2], [3, 4, 5], [5, 0, 6]]),
        "probs": np.array([[0.5, 0.25, 0.01], [0.4, 0.4, 0.1], [0.8, 0.1, 0.05]]),
        "ranks": np.array([1234, 3, 1]),
        "texts_by_id": by_id(words),
    }
    return predictions(**{**fields, **change})


def test_each_layers_winner_is_marked_and_the_crossing_is_a_line() -> None:
    view = watched(ranks=OVERTAKEN).fragment()
    assert marked(view, "won").argmax(axis=1).tolist() == [0, 0, 0, 1, 1]
    assert marked(view, "won").sum() == 5
    assert ["ecco-crossing" in name for name, _ in rows(view)] == [False] * 3 + [True, False]
    plain = sanitised(view)
    assert len(re.findall("font-weight:700;text-decoration:underline", plain)) == 5
    assert "Preferred: “is” from embedding on, “are” from block 2 on." in Outline(plain).text


def test_equal_ranks_are_decided_by_logits() -> None:
    logits = np.array([[0.0, 1.0]] * 4 + [[1.0, 0.0]])
    view = watched(ranks=np.full((5, 2), 3), logits=logits).fragment()
    assert marked(view, "won").argmax(axis=1).tolist() == [1, 1, 1, 1, 0]


def test_many_changes_are_counted_not_listed() -> None:
    view = watched(ranks=np.array([[1, 2], [2, 1]] * 10), layers=np.arange(1, 21)).fragment()
    assert "from block 6 on, and 13 more changes." in Outline(view).text
    view = watched(ranks=np.array([[1, 2]] * 20)).fragment()
    assert "Every layer shown prefers “is”." in Outline(view).text


def test_one_word_wins_nothing() -> None:
    view = watched([" is"], ranks=OVERTAKEN[:, :1]).fragment()
    assert not marked(view, "won").any()
    assert "prefer" not in Outline(sanitised(view)).text.replace("prefer?", "")


def test_a_watched_cell_says_everything() -> None:
    view = watched(ranks=OVERTAKEN).fragment()
    assert (
        'title="embedding, “are”: rank 940, logit −6.85, probability 0.053%; '
        'the layer&#39;s top token: “Croatia”"'
    ) in view
    assert [row[-1][1] for _, row in rows(view)] == ["Croatia", "↵", "5", ".", "日本"]
    assert "log: 940 to 1" in Outline(sanitised(view)).text


def test_several_positions_have_a_table_for_each_word() -> None:
    ranks = overtaken(3)
    ranks[2, 4] = (1, 50)  # at the last position, the first word comes back
    view = watched(ranks=ranks).fragment()
    assert view.count("<table") == 2
    names = re.findall(r'aria-label="(.*?)"', view)
    assert names == ["Ranks of “is” at each position", "Ranks of “are” at each position"]
    won = marked(view, "won")
    assert (won[:5] ^ won[5:]).all(), "each cell is won in one of the two tables"
    crossing = marked(view, "crossing")
    assert (crossing[:5] == crossing[5:]).all()
    assert np.argwhere(crossing[:5]).tolist() == [[3, 0], [3, 1], [3, 2], [4, 2]]
    assert "block 0, after “5”, “are”: rank 134" in view


@pytest.mark.parametrize("ranks", [OVERTAKEN, overtaken(1)], ids=["no axis", "axis"])
def test_one_position_is_drawn_alike_with_and_without_its_axis(ranks: np.ndarray) -> None:
    view = watched(ranks=ranks).fragment()
    assert view.count("<table") == 1
    assert ("after “Croatia”" in view) == (ranks.ndim == 3)


def test_predictions_show_tokens_with_their_probability() -> None:
    view = predicted().fragment()
    texts = [[text for _, text in row] for _, row in rows(view)]
    assert texts[0] == ["a50.0%", "↵25.0%", "the1.0%", "1.2k"]
    assert [row[-1] for row in texts] == ["1.2k", "3", "1"]
    assert np.argwhere(marked(view, "true")).tolist() == [[1, 2], [2, 0]]
    assert "border:2px solid" in sanitised(view), "the outline stays without the style sheet"
    assert "embedding, place 2: “↵”, probability 25.0%; rank of the true token 1.2k (1,234)" in view
    assert "block 0, place 3: “Paris”, probability 10.0%, the true token; rank" in view
    assert "Outlined: the true token, “Paris”." in view
    assert "probability: 0% to 80.0%" in Outline(sanitised(view)).text


def test_a_true_token_that_is_not_among_them_is_named() -> None:
    view = predicted(token_ids=np.array([[0, 1, 2], [3, 4, 0], [6, 0, 2]])).fragment()
    assert not marked(view, "true").any()
    assert "None of these is the true token, “Paris”." in Outline(sanitised(view)).text


def test_pairs_show_margins_in_two_hues_and_mark_the_crossing() -> None:
    record = pairs(rising(3))
    view = record.fragment()
    drawn = rows(view)
    for (_, row), margins in zip(drawn, record.margins, strict=True):
        for (has, text), margin in zip(row, margins, strict=False):
            assert float(text.replace("−", "-")) == pytest.approx(margin, abs=0.051)
            hue = re.search(r"ecco-([sc])\d+", has)
            assert hue is None or hue.group(1) == ("s" if margin > 0 else "c")
    assert np.argwhere(marked(view, "onset")).tolist() == [[1, 2], [2, 2]]
    assert [[text for _, text in row[-2:]] for _, row in drawn] == [
        ["never", "−6.00"],
        ["block 1", "3.90"],
        ["block 1", "3.80"],
    ]
    assert "nats: −13.0 to 13.0" in Outline(sanitised(view)).text
    assert "block 1: “are” leads “is” by 0.400 nats, ahead from here on" in view
    assert "embedding: “is” leads “are” by 13.0 nats" in view
    assert "The keys to cabinet 1 ___ old." in view
    assert "are / is" in view


def test_pairs_without_a_negative_margin_have_one_hue() -> None:
    view = pairs(np.abs(rising(3))).fragment()
    assert ".ecco-c1{" not in view
    assert "nats: 0 to 13.0" in Outline(sanitised(view)).text
    assert "are level" in pairs(0 * rising(3)).fragment()


@pytest.mark.parametrize(("prompts", "tables"), [(40, 1), (41, 2), (90, 2)])
def test_many_prompts_are_folded_away(prompts: int, tables: int) -> None:
    view = pairs(rising(prompts)).fragment()
    assert view.count("<table") == tables
    assert len(rows(view)) == prompts
    if tables == 2:
        rest = prompts - 40
        assert f"<summary>{rest} more prompt{'s' if rest > 1 else ''}</summary>" in view
