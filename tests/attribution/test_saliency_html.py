"""The static view of saliency: exact numbers, whole texts, readable without its scripts."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_samples import (
    Outline,
    classified,
    countries,
    hostile,
    long_text,
    masked,
    sample,
    sanitised,
)

from ecco_captum.attribution.html import first_output, known_lengths, pack_scores, saliency_view
from ecco_captum.core.choices import Task
from ecco_captum.core.text import format_share, visible, visible_parts
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.page import page

SECOND = "ecco-c32"  # a class of the second hue


def embedded(view: str) -> dict:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', view, re.DOTALL)
    return json.loads(text)


def unpacked(data: dict) -> np.ndarray:
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


@pytest.mark.parametrize("prompt", [0, 1, 7])
@pytest.mark.parametrize("signed", [False, True])
def test_scores_arrive_bit_for_bit(prompt: int, signed: bool) -> None:
    tokens, scores = sample(tuple("abcdefghijkl"), prompt, signed=signed)
    scores[-1, 0] = np.float32(1e-42)  # subnormal
    data = embedded(saliency_view(tokens, scores))
    assert unpacked(data).tobytes() == scores.tobytes()
    assert data["signed"] == bool((scores < 0).any())


@st.composite
def explanations(draw: st.DrawFn) -> tuple[Tokens, np.ndarray, dict]:
    """Tokens and scores of any task, of all outputs or of some."""
    prompt, count = draw(st.integers(0, 6)), draw(st.integers(1, 7))
    task = draw(st.sampled_from(["causal", "seq2seq", "masked", "classification"]))
    outputs = draw(st.none() | st.sets(st.integers(0, count - 1), min_size=1).map(sorted))
    tokens = Tokens(np.arange(prompt + count), ("x",) * (prompt + count), prompt)
    explained = np.arange(count) if outputs is None else np.array(outputs)
    scores = np.random.default_rng(draw(st.integers(0, 99))).normal(
        size=(len(explained), len(tokens))
    )
    known = known_lengths(tokens, explained, task)
    scores[np.arange(len(tokens)) >= known[:, None]] = 0
    return tokens, scores.astype(np.float32), {"outputs": outputs, "task": task}


@given(explanations())
@settings(max_examples=60, deadline=None)
def test_some_outputs_of_any_task_arrive_bit_for_bit(given: tuple) -> None:
    tokens, scores, options = given
    view = saliency_view(tokens, scores, **options)
    data = embedded(view)
    assert unpacked(data).tobytes() == scores.tobytes()
    count = len(tokens) - tokens.prompt_length
    explained = list(range(count)) if options["outputs"] is None else options["outputs"]
    assert data["outputs"] == (explained if len(explained) < count else None)
    assert data["first"] in explained
    rows = re.findall(r"<tr>(.*?)</tr>", sanitised(view))[1:]
    assert [int(re.findall(r"<td[^>]*>(\d+)</td>", row)[0]) for row in rows] == explained


@given(explanations(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_score_of_what_an_output_cannot_know_is_refused(given: tuple, data) -> None:
    tokens, scores, options = given
    outputs = options["outputs"]
    explained = np.arange(len(scores)) if outputs is None else np.array(outputs)
    known = known_lengths(tokens, explained, options["task"])
    row = data.draw(st.integers(0, len(scores) - 1))
    scores[row, data.draw(st.integers(int(known[row]), len(tokens) - 1))] = 1
    with pytest.raises(ValueError, match="scores: got values at"):
        saliency_view(tokens, scores, **options)


@given(st.lists(st.text(st.characters(), max_size=8), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_texts_arrive_whole_and_stay_inside(texts: list[str]) -> None:
    tokens, scores = sample(tuple(texts), 1)
    view = saliency_view(tokens, scores)
    view.encode("utf-8")
    sent = [[t] if isinstance(t, str) else t for t in embedded(view)["texts"]]
    assert sent == [visible_parts(text) for text in texts]
    assert Outline(view).tags.count("script") == 2


def test_hostile_texts_add_no_tag_and_no_attribute() -> None:
    plain = saliency_view(*sample(tuple("x" * 54), 27))
    view = saliency_view(*hostile(), title="<script>", subtitle="</p><b>", note="\u202e<i>")
    known, read = Outline(plain), Outline(view)
    assert set(read.tags) == {*known.tags, "p"}
    assert {name for name, _ in read.attributes} == {name for name, _ in known.attributes}
    assert not any(name.startswith("on") for name, _ in read.attributes)


def test_the_page_refers_to_no_network() -> None:
    text = page(saliency_view(*countries(signed=True)), title="t")
    assert not re.search(r"https?:|url\(|@import|<link|<img|src=|fetch\(|XMLHttpRequest", text)


def test_without_scripts_the_strongest_sources_are_read_as_a_table() -> None:
    tokens, scores = countries()
    shown = sanitised(saliency_view(tokens, scores, title="Where from?", note="It holds."))
    assert not re.search(r"<script|<style|<button|role=|data-|tabindex", shown)
    text = Outline(shown).text
    assert text.startswith("Where from?")
    assert text.endswith("It holds.")
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
    tokens, scores = long_text(20, 100)
    shown = sanitised(saliency_view(tokens, scores))
    opened, folded = shown.split("<details>")
    assert len(re.findall("<tr>", opened)) == 41
    assert "60 more generated tokens" in folded
    assert len(re.findall("<tr>", folded)) == 61


def test_shares_of_signed_scores_are_of_the_sum_of_magnitudes() -> None:
    tokens = Tokens(np.arange(3), ("a", "b", "c"), 2)
    view = saliency_view(tokens, np.array([[-3.0, 1.0, 0.0]], np.float32))
    text = Outline(sanitised(view)).text
    assert "a −75.0%" in text
    assert "b 25.0%" in text
    assert SECOND in view
    assert SECOND not in saliency_view(tokens, np.array([[3.0, 1.0, 0.0]], np.float32))


def test_a_source_below_zero_is_said_to_speak_against_it() -> None:
    header = "Its strongest sources, with their share of the score"
    against = "(below 0: it spoke against)"
    assert f"{header} {against}" in Outline(sanitised(saliency_view(*countries(signed=True)))).text
    assert against not in Outline(sanitised(saliency_view(*countries()))).text


WORDS: list[tuple[Task, tuple[str, ...]]] = [
    ("causal", ("prompt", "generated", "Generated token")),
    ("seq2seq", ("source", "generated", "Generated token")),
    ("masked", ("text", "predicted at the masks", "Predicted token")),
    ("classification", ("text", "class", "Class")),
]


@pytest.mark.parametrize(("task", "expected"), WORDS)
def test_a_view_speaks_of_what_its_outputs_are(task: Task, expected: tuple[str, ...]) -> None:
    tokens, scores = sample(tuple("x" * 60), 10)
    scores[:, 10:] = 0
    view = saliency_view(tokens, scores, task=task)
    words = embedded(view)["words"]
    assert (words["source"], words["target"]) == expected[:2]
    shown = Outline(sanitised(view)).text
    assert expected[2] + "Output" in shown
    assert f"10 more {words['many']}" in shown


def test_a_prediction_says_which_mask_it_is_for() -> None:
    tokens, scores, places = masked()
    view = saliency_view(tokens, scores, task="masked", places=places)
    assert embedded(view)["places"] == places
    text = Outline(sanitised(view)).text
    assert "France at position 4" in text
    assert "Paris at position 6" in text
    unsaid = saliency_view(tokens, scores, task="masked")
    assert "at position" not in Outline(sanitised(unsaid)).text


def test_html_below_the_picture_stays_as_it_is() -> None:
    tokens, scores = classified()
    below = '<p class="mine">It <b>holds</b>.</p>'
    view = saliency_view(tokens, scores, task="classification", below=below, note="The end.")
    assert view.index("ecco-swap") < view.index(below) < view.index("The end.")
    assert Outline(sanitised(view)).text.endswith("It holds.The end.")


def test_a_row_without_any_score_is_said_so() -> None:
    tokens = Tokens(np.arange(3), ("a", "b", "c"), 1)
    text = Outline(sanitised(saliency_view(tokens, np.zeros((2, 3), np.float32)))).text
    assert "b0none" in text
    assert "c1none" in text


def test_the_first_output_shown_is_the_most_concentrated_word() -> None:
    texts = ("a", "b", "c", " word", "\n", " sharp", " flat")
    scores = np.zeros((4, 7), np.float32)
    scores[0, :3] = (3, 1, 1)
    scores[1, :4] = (0, 0, 0, 9)  # the sharpest, but a newline
    scores[2, :5] = (0, 0.1, 0, 0, 9)
    scores[3, :6] = 1
    tokens = Tokens(np.arange(7), texts, 3)
    assert first_output(tokens, scores) == 2
    assert first_output(tokens, np.zeros_like(scores)) == 0
    # The same one source of two, and of six, is more of a choice in the second case.
    scores = np.zeros((2, 7), np.float32)
    scores[0, 0] = scores[1, 0] = 1
    assert first_output(Tokens(np.arange(7), ("x",) * 7, 5), scores) == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda s: s[:, :-1], r"scores: got shape \(9, 19\), accepts .*\(9, 20\)"),
        (lambda s: s[:-1], r"scores: got shape"),
        (lambda s: np.where(s == s.max(), np.nan, s), r"scores: got nan at \[\d+, \d+\]"),
        (lambda s: np.where(s == s.max(), np.inf, s), r"scores: got inf at"),
        (lambda s: s + np.eye(9, 20, 11, dtype=np.float32), r"scores: got values at or after"),
    ],
)
def test_scores_that_cannot_be_drawn_are_refused(broken, message: str) -> None:
    tokens, scores = countries()
    with pytest.raises(ValueError, match=message):
        saliency_view(tokens, broken(scores))


@pytest.mark.parametrize(
    "outputs", [[], [3, 2, 1], [1, 1, 2], [-1, 0, 1], [7, 8, 9], [[0, 1, 2]], [0.5]]
)
def test_outputs_that_are_none_are_refused(outputs: list) -> None:
    tokens, scores = countries()
    with pytest.raises(ValueError, match=r"outputs: got .*, accepts ascending .* from 0 to 8"):
        saliency_view(tokens, scores[:3], outputs=outputs)


@pytest.mark.parametrize(
    ("task", "places"),
    [("causal", [0, 1]), ("masked", [1]), ("masked", [0, 9]), ("masked", [-1, 2])],
)
def test_places_that_are_no_masks_are_refused(task: Task, places: list[int]) -> None:
    tokens, scores, _ = masked()
    with pytest.raises(ValueError, match=r"places: got .* accepts for 'masked' 2 positions"):
        saliency_view(tokens, scores, task=task, places=places)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match="task: got 'poetry', accepts 'causal', 'seq2seq'"):
        saliency_view(*countries(), task="poetry")


def test_a_prompt_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens: got 2 tokens, all of them prompt"):
        saliency_view(Tokens(np.arange(2), ("a", "b"), 2), np.zeros((0, 2), np.float32))


@pytest.mark.parametrize(("prompt", "outputs"), [(20, 20), (2000, 500), (10_000, 50)])
def test_a_page_weighs_little_more_than_its_numbers(prompt: int, outputs: int) -> None:
    tokens, scores = long_text(prompt, outputs)
    numbers = len(pack_scores(tokens, scores)) * 4 / 3
    weight = len(page(saliency_view(tokens, scores), title="t").encode("utf-8"))
    assert weight < numbers + 25 * len(tokens) + 1400 * outputs + 60_000


def test_the_same_input_gives_the_same_view() -> None:
    assert saliency_view(*countries()) == saliency_view(*countries())
    assert saliency_view(*countries()) != saliency_view(*countries(), note="other")
