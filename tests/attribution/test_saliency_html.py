"""The static view of saliency: exact numbers, whole texts, readable without its scripts."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_samples import (
    Outline,
    attribution,
    classified,
    countries,
    embedded,
    hostile,
    long_text,
    masked,
    only,
    sample,
    sanitised,
)

from ecco_captum import Attribution
from ecco_captum.attribution.html import pack_scores
from ecco_captum.core.checks import Task
from ecco_captum.core.text import format_share, visible, visible_parts

SECOND = "ecco-c32"  # a class of the second hue


def unpacked(data: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(data["scores"]), dtype="<f4")
    positions, prompt = len(data["texts"]), data["prompt"]
    explained = data["outputs"] or range(positions - prompt)
    scores = np.zeros((len(explained), positions), np.float32)
    start = 0
    for row, t in zip(scores, explained, strict=True):
        length = prompt + (t if data["grows"] else 0)
        row[:length] = values[start : start + length]
        start += length
    assert start == len(values), "nothing but what an output could depend on is sent"
    return scores


def text_of(record: Attribution) -> str:
    """What an untrusted notebook shows."""
    return Outline(sanitised(record.fragment())).text


@pytest.mark.parametrize("prompt", [0, 1, 7])
@pytest.mark.parametrize("signed", [False, True])
def test_scores_arrive_bit_for_bit(prompt: int, signed: bool) -> None:
    record = sample("abcdefghijkl", prompt, signed=signed)
    scores = record.scores.copy()
    scores[-1, 0] = np.float32(1e-42)  # subnormal
    data = embedded(replace(record, scores=scores).fragment())
    assert unpacked(data).tobytes() == scores.tobytes()
    assert data["signed"] == bool((scores < 0).any())


@st.composite
def attributions(draw: st.DrawFn) -> Attribution:
    """Of any task, of all outputs or of some."""
    prompt, count = draw(st.integers(0, 6)), draw(st.integers(1, 7))
    task = draw(st.sampled_from(["causal", "seq2seq", "masked", "classification"]))
    outputs = draw(st.none() | st.sets(st.integers(0, count - 1), min_size=1).map(sorted))
    whole = sample("x" * (prompt + count), prompt, signed=True, task=task)
    return whole if outputs is None else only(whole, outputs)


@given(attributions())
@settings(max_examples=60, deadline=None)
def test_some_outputs_of_any_task_arrive_bit_for_bit(record: Attribution) -> None:
    view = record.fragment()
    data = embedded(view)
    assert unpacked(data).tobytes() == record.scores.tobytes()
    explained = record.outputs.tolist()
    assert data["outputs"] == (explained if len(explained) < len(record.tokens.outputs) else None)
    assert data["first"] in explained
    rows = re.findall(r"<tr>(.*?)</tr>", sanitised(view))[1:]
    assert [int(re.findall(r"<td[^>]*>(\d+)</td>", row)[0]) for row in rows] == explained


@given(attributions(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_score_of_what_an_output_cannot_know_is_refused(
    record: Attribution, data: st.DataObject
) -> None:
    scores = record.scores.copy()
    row = data.draw(st.integers(0, len(scores) - 1))
    scores[row, data.draw(st.integers(int(record.known[row]), len(record.tokens) - 1))] = 1
    with pytest.raises(ValueError, match="scores: got values at tokens that an output cannot"):
        replace(record, scores=scores)


@given(st.lists(st.text(st.characters(), max_size=8), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_texts_arrive_whole_and_stay_inside(texts: list[str]) -> None:
    view = sample(texts, 1).fragment()
    view.encode("utf-8")
    sent = [[t] if isinstance(t, str) else t for t in embedded(view)["texts"]]
    assert sent == [visible_parts(text) for text in texts]
    assert Outline(view).tags.count("script") == 2


def test_hostile_texts_add_no_tag_and_no_attribute() -> None:
    known, read = (Outline(r.fragment()) for r in (sample("x" * 54, 27), hostile()))
    assert set(read.tags) == set(known.tags)
    assert {name for name, _ in read.attributes} == {name for name, _ in known.attributes}
    assert not any(name.startswith("on") for name, _ in read.attributes)


def test_without_scripts_the_top_sources_are_read_as_a_table() -> None:
    record = countries()
    tokens, scores = record.tokens, record.scores
    shown = sanitised(record.fragment())
    assert not re.search(r"<script|<style|<button|role=|data-|tabindex", shown)
    text = Outline(shown).text
    assert text.startswith("Where did each token come from?")
    assert text.endswith("it removes tokens and measures the score.")
    shares = scores / scores.sum(axis=1, keepdims=True)
    rows = re.findall(r"<tr>(.*?)</tr>", shown)[1:]
    assert len(rows) == len(scores)
    for t, row in enumerate(rows):
        read = Outline(row).text
        assert read.startswith(visible(tokens.texts[tokens.prompt_length + t]) + str(t))
        positions = [int(p) for p in re.findall(r'title="position (\d+)"', row)]
        assert positions == np.argsort(-scores[t], kind="stable")[:5].tolist()
        for position in positions:
            assert f"{visible(tokens.texts[position])} {format_share(shares[t, position])}" in read


def test_many_outputs_are_folded_but_all_there() -> None:
    opened, folded = sanitised(long_text(20, 100).fragment()).split("<details>")
    assert len(re.findall("<tr>", opened)) == 41
    assert "60 more generated tokens" in folded
    assert len(re.findall("<tr>", folded)) == 61


def test_shares_of_signed_scores_are_of_the_sum_of_magnitudes() -> None:
    record = attribution("abc", 2, [[-3, 1, 0]])
    assert "a −75.0%" in text_of(record)
    assert "b 25.0%" in text_of(record)
    assert SECOND in record.fragment()
    assert SECOND not in attribution("abc", 2, [[3, 1, 0]]).fragment()


def test_a_source_below_zero_is_said_to_lower_the_score() -> None:
    header = "Its top sources, with their share of the score"
    below = "(below 0: it lowered the score)"
    assert f"{header} {below}" in text_of(countries(signed=True))
    assert below not in text_of(countries())


WORDS: list[tuple[Task, tuple[str, ...]]] = [
    ("causal", ("prompt", "generated", "Generated token")),
    ("seq2seq", ("source", "generated", "Generated token")),
    ("masked", ("text", "predicted at the masks", "Predicted token")),
    ("classification", ("text", "class", "Class")),
]


@pytest.mark.parametrize(("task", "expected"), WORDS)
def test_a_view_speaks_of_what_its_outputs_are(task: Task, expected: tuple[str, ...]) -> None:
    record = sample("x" * 60, 10, task=task)
    words = embedded(record.fragment())["words"]
    assert (words["source"], words["target"]) == expected[:2]
    assert expected[2] + "Output" in text_of(record)
    assert f"10 more {words['many']}" in text_of(record)


def test_a_prediction_says_which_mask_it_is_for() -> None:
    record = masked()
    assert embedded(record.fragment())["places"] == [4, 6]
    assert "France at position 4" in text_of(record)
    assert "Paris at position 6" in text_of(record)
    assert "at position" not in text_of(masked(places=None))


def test_html_below_the_picture_stays_as_it_is() -> None:
    below, record = '<p class="mine">It <b>holds</b>.</p>', classified()
    view = record.fragment(below)
    assert view.index("ecco-swap") < view.index(below) < view.index(record.note[:30])
    assert Outline(sanitised(view)).text.endswith(f"It holds.{record.note}")


def test_a_row_without_any_score_is_said_so() -> None:
    text = text_of(attribution("abc", 1, np.zeros((2, 3))))
    assert "b0none" in text
    assert "c1none" in text


def test_the_first_output_shown_is_the_most_concentrated_word() -> None:
    def first(texts: tuple[str, ...], prompt: int, scores: np.ndarray) -> Any:
        return embedded(attribution(texts, prompt, scores).fragment())["first"]

    texts = ("a", "b", "c", " word", "\n", " sharp", " flat")
    scores = np.zeros((4, 7))
    scores[0, :3] = (3, 1, 1)
    scores[1, :4] = (0, 0, 0, 9)  # the sharpest, but a newline
    scores[2, :5] = (0, 0.1, 0, 0, 9)
    scores[3, :6] = 1
    assert first(texts, 3, scores) == 2
    assert first(texts, 3, np.zeros_like(scores)) == 0
    # The same one source of two, and of six, is more of a choice in the second case.
    scores = np.zeros((2, 7))
    scores[0, 0] = scores[1, 0] = 1
    assert first(("x",) * 7, 5, scores) == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda s: s[:, :-1], r"scores: got shape \(9, 19\), accepts .*\(9, 20\)"),
        (lambda s: s[:-1], r"got shape \(9,\), accepts \(explained\) = \(8\)"),
        (lambda s: np.where(s == s.max(), np.nan, s), r"scores: got nan at \[\d+, \d+\]"),
        (lambda s: np.where(s == s.max(), np.inf, s), r"scores: got inf at"),
        (lambda s: s + np.eye(9, 20, 11), r"scores: got values at tokens that an output cannot"),
    ],
)
def test_scores_that_cannot_be_drawn_are_no_attribution(broken: Any, message: str) -> None:
    record = countries()
    with pytest.raises(ValueError, match=message):
        replace(record, scores=broken(record.scores))


@pytest.mark.parametrize(
    "outputs", [[], [3, 2, 1], [1, 1, 2], [-1, 0, 1], [7, 8, 9], [[0, 1, 2]], [0.5]]
)
def test_outputs_that_are_none_are_refused(outputs: list[Any]) -> None:
    accepted = r"ascending .* from 0 to 8|\(explained\)"
    with pytest.raises(ValueError, match=rf"outputs: got .*, accepts ({accepted})"):
        replace(only(countries(), [0, 1, 2]), outputs=np.array(outputs))


def test_a_prompt_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="generation: all of its 2 tokens are prompt"):
        attribution("ab", 2, np.zeros((0, 2)))


@pytest.mark.parametrize(("prompt", "outputs"), [(20, 20), (2000, 500), (10_000, 50)])
def test_a_page_weighs_little_more_than_its_numbers(prompt: int, outputs: int) -> None:
    record = long_text(prompt, outputs)
    numbers = len(pack_scores(record)) * 4 / 3
    weight = len(record.to_html().encode("utf-8"))
    assert weight < numbers + 25 * (prompt + outputs) + 1400 * outputs + 60_000


def test_views_that_differ_have_keys_that_differ() -> None:
    def key(record: Attribution) -> str:
        return re.findall(r'data-view="(\w+)"', record.fragment())[0]

    assert len({key(record) for record in (countries(), countries(model="b"), masked())}) == 3
