"""Watched words, predictions and pairs: what wins, where it changes, and how it is said."""

from __future__ import annotations

import re

import numpy as np
import pytest
from heat_samples import LAYERS, OUTPUTS, paired, predicted, watched
from view_samples import Outline, sanitised

from ecco_captum.lens.html import pairs_view, predictions_view, watch_view


def rows(view: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each row of the body: its own attributes, then attributes and text of its cells."""
    found = re.findall(r"<tr([^>]*)>(<th scope=\"row\".*?)</tr>", view)
    cell = r"<td([^>]*)>(.*?)</td>"
    return [
        (name, [(has, Outline(text).text) for has, text in re.findall(cell, row)])
        for name, row in found
    ]


def marked(view: str, mark: str) -> np.ndarray:
    return np.array([[f"ecco-is-{mark}" in has for has, _ in row] for _, row in rows(view)])


def test_each_layers_winner_is_marked_and_the_crossing_is_a_line() -> None:
    view = watch_view(**watched())
    assert marked(view, "won").argmax(axis=1).tolist() == [0, 0, 0, 1, 1]
    assert marked(view, "won").sum() == 5
    assert ["ecco-crossing" in name for name, _ in rows(view)] == [False] * 3 + [True, False]
    plain = sanitised(view)
    assert len(re.findall("font-weight:700;text-decoration:underline", plain)) == 5
    assert "Preferred: “is” from embedding on, “are” from block 2 on." in Outline(plain).text


def test_equal_ranks_are_decided_by_logits() -> None:
    given = watched()
    given["ranks"] = np.full((5, 2), 3)
    given["logits"] = np.array([[0.0, 1.0]] * 4 + [[1.0, 0.0]])
    assert marked(watch_view(**given), "won").argmax(axis=1).tolist() == [1, 1, 1, 1, 0]


def test_many_changes_are_counted_not_listed() -> None:
    given = watched()
    given["layers"] = [f"block {k}" for k in range(20)]
    given["ranks"] = np.array([[1, 2], [2, 1]] * 10)
    given |= {"logits": -given["ranks"], "probs": 0.5 / given["ranks"]}
    assert "from block 6 on, and 13 more changes." in Outline(watch_view(**given)).text
    given["ranks"] = np.array([[1, 2]] * 20)
    assert "Every layer shown prefers “is”." in Outline(watch_view(**given)).text


def test_one_word_wins_nothing() -> None:
    given = watched()
    alone = {key: given[key][:, :1] for key in ("ranks", "logits", "probs")}
    view = watch_view((" is",), LAYERS, **alone)
    assert not marked(view, "won").any()
    assert "prefer" not in Outline(sanitised(view)).text.replace("prefer?", "")


def test_a_watched_cell_says_everything() -> None:
    view = watch_view(**watched(), top_texts=OUTPUTS[:5])
    assert (
        'title="embedding, “are”: rank 940, logit −6.85, probability 0.053%; '
        'this layer&#x27;s own: “Croatia”"'
    ) in view
    assert [row[-1][1] for _, row in rows(view)] == ["Croatia", "↵", "5", ".", "Czech"]
    assert "log: 940 to 1" in Outline(sanitised(view)).text


def test_several_positions_have_a_table_for_each_word() -> None:
    given = watched(3)
    given["ranks"][2, 4] = (1, 50)  # at the last position, the first word comes back
    view = watch_view(**given, top_texts=[OUTPUTS[:5]] * 3)
    assert view.count("<table") == 2
    names = re.findall(r'aria-label="(.*?)"', view)
    assert names == ["Ranks of “is” at each position", "Ranks of “are” at each position"]
    won = marked(view, "won")
    assert (won[:5] ^ won[5:]).all(), "each cell is won in one of the two tables"
    crossing = marked(view, "crossing")
    assert (crossing[:5] == crossing[5:]).all()
    assert np.argwhere(crossing[:5]).tolist() == [[3, 0], [3, 1], [3, 2], [4, 2]]
    assert "block 0, after “5”, “are”: rank 134" in view


def test_names_of_layers_stay_on_one_line() -> None:
    view = watch_view(**{**watched(), "layers": ("a\nb", "\u202ec", "d" * 300, " e", "f")})
    titles = re.findall(r'title="(\S+?), “is”: rank', view)
    assert titles == ["a↵b", "RLOc", "d" * 39 + "…", "e", "f"]


@pytest.mark.parametrize("positions", [0, 1])
def test_one_position_is_drawn_alike_with_and_without_its_axis(positions: int) -> None:
    view = watch_view(**watched(positions))
    assert view.count("<table") == 1
    assert ("after “Croatia”" in view) == bool(positions)


def test_predictions_show_tokens_with_their_probability() -> None:
    view = predictions_view(**predicted())
    texts = [[text for _, text in row] for _, row in rows(view)]
    assert texts[0] == ["a50.0%", "↵25.0%", "the1.0%", "1.2k"]
    assert [row[-1] for row in texts] == ["1.2k", "3", "1"]
    assert np.argwhere(marked(view, "true")).tolist() == [[1, 2], [2, 0]]
    assert "border:2px solid" in sanitised(view), "the outline stays without the style sheet"
    assert "embedding, place 2: “↵”, probability 25.0%; rank of the true token 1.2k (1,234)" in view
    assert "block 0, place 3: “Paris”, probability 10.0%, the true token; rank" in view
    assert "Outlined: the true token, “Paris”." in view
    assert "probability: 0% to 80.0%" in Outline(sanitised(view)).text


def test_predictions_without_a_true_token_have_no_column_for_it() -> None:
    given = predicted()
    none = {"true": "", "is_true": np.zeros((3, 3), bool)}
    for ranks in (None, [None] * 3):
        view = predictions_view(**{**given, **none, "ranks": ranks})
        assert len(rows(view)[0][1]) == 3
        assert "true" not in Outline(sanitised(view)).text
    some = predictions_view(**{**given, "ranks": [None, 3, 1]})
    assert [row[-1][1] for _, row in rows(some)] == ["–", "3", "1"]


def test_pairs_show_margins_in_two_hues_and_mark_the_crossing() -> None:
    given = paired()
    view = pairs_view(**given)
    found = rows(view)
    for (_, row), margins in zip(found, given["margins"], strict=True):
        for (has, text), margin in zip(row, margins, strict=False):
            assert float(text.replace("−", "-")) == pytest.approx(margin, abs=0.051)
            hue = re.search(r"ecco-([sc])\d+", has)
            assert hue is None or hue.group(1) == ("s" if margin > 0 else "c")
    assert np.argwhere(marked(view, "onset")).tolist() == [[1, 2], [2, 2]]
    assert [[text for _, text in row[-2:]] for _, row in found] == [
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
    given = paired()
    given["margins"] = np.abs(given["margins"])
    view = pairs_view(**given)
    assert ".ecco-c1{" not in view
    assert "nats: 0 to 13.0" in Outline(sanitised(view)).text
    given["margins"][:] = 0
    assert "are level" in pairs_view(**given)


@pytest.mark.parametrize(("prompts", "tables"), [(40, 1), (41, 2), (90, 2)])
def test_many_prompts_are_folded_away(prompts: int, tables: int) -> None:
    view = pairs_view(**paired(prompts))
    assert view.count("<table") == tables
    assert len(rows(view)) == prompts
    if tables == 2:
        rest = prompts - 40
        assert f"<summary>{rest} more prompt{'s' if rest > 1 else ''}</summary>" in view


@pytest.mark.parametrize(
    ("draw", "given", "change", "message"),
    [
        (watch_view, watched(), {"watched": ()}, "watched: got"),
        (
            watch_view,
            watched(),
            {"ranks": np.ones((5, 3))},
            r"accepts \(layers, watched\) = \(5, 2",
        ),
        (watch_view, watched(2), {"places": None}, "places: got 0 texts for 2 positions"),
        (watch_view, watched(2), {"places": ["a"]}, "places: got 1 texts for 2 positions"),
        (watch_view, watched(2), {"ranks": np.ones((0, 5, 2))}, "ranks: got no position"),
        (watch_view, watched(), {"top_texts": ["a"]}, "top_texts: got 1 rows of 1 texts"),
        (watch_view, watched(), {"probs": np.full((5, 2), 7)}, "probs: got 7"),
        (predictions_view, predicted(), {"probs": np.ones(3)}, r"probs: got shape \(3,\)"),
        (predictions_view, predicted(), {"probs": np.ones((3, 0))}, "with one place or more"),
        (
            predictions_view,
            predicted(),
            {"probs": np.array([[0.1, 0.2, 0.3]] * 3)},
            r"probs: got \[0.1, 0.2, 0.3\], accepts probabilities that descend",
        ),
        (predictions_view, predicted(), {"texts": [["a"] * 2] * 3}, "texts: got 3 rows of 2"),
        (predictions_view, predicted(), {"ranks": [1]}, "ranks: got 1, accepts one for each of 3"),
        (predictions_view, predicted(), {"ranks": [1, 0, None]}, "ranks: got 0"),
        (predictions_view, predicted(), {"is_true": np.ones((3, 3))}, "is_true: got float64"),
        (pairs_view, paired(), {"fillers": [("a", "b")]}, "fillers: got"),
        (pairs_view, paired(), {"fillers": [("a",)] * 3}, "accepts two texts for each of 3"),
        (pairs_view, paired(), {"margins": np.ones((5, 3))}, r"margins: got shape \(5, 3\)"),
        (pairs_view, paired(), {"crossings": [0, 1, 5]}, "crossings: got 5, accepts rows of the"),
        (pairs_view, paired(), {"crossings": [0, 1, -2]}, "crossings: got -2"),
    ],
)
def test_what_does_not_fit_is_refused(draw, given: dict, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**{**given, **change})
