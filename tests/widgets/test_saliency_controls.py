"""The saliency explorer's controls: stale pictures, contrasts, two views on one scale, edits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from explorer_samples import GENERATION, LM, settled

import ecco_captum as ec
from ecco_captum import widgets
from ecco_captum.widgets.callbacks import Completion
from ecco_captum.widgets.runner import Estimate


def opened() -> Any:
    return ec.saliency(LM, GENERATION, progress=False).explore(LM)


def is_stale(explorer: Any) -> bool:
    marked = "ecco-stale" in explorer.view._dom_classes
    assert (explorer.stale.layout.display == "") == marked
    return marked


def test_a_picture_is_stale_until_it_shows_what_the_controls_say() -> None:
    record = ec.saliency(LM, GENERATION, progress=False)
    begun, go_on = threading.Event(), threading.Event()

    def compute(**options: Any) -> ec.Attribution:
        begun.set()
        go_on.wait(10)
        return ec.saliency(LM, GENERATION, method="saliency", progress=False)

    explorer: Any = widgets.explore(record, compute=compute, methods=["saliency"])
    assert not is_stale(explorer)
    explorer.method.value = "saliency"
    assert is_stale(explorer), "at once, not when the work is done"
    assert "gradient × input, logit" in explorer.stale.line.value
    go_on.set()
    settled(explorer.runner)
    assert not is_stale(explorer)
    begun.clear()
    go_on.clear()
    explorer.score.value = "prob"
    assert begun.wait(10)
    explorer.runner.button.click()
    go_on.set()
    assert "cancelled" in settled(explorer.runner)
    assert is_stale(explorer), "the controls still say something else"
    explorer.stale.button.click()
    assert explorer.score.value == "logit"
    assert not is_stale(explorer)
    assert settled(explorer.runner) == ""


def test_what_fails_leaves_a_stale_picture_and_says_why_in_plain_words() -> None:
    explorer = opened()
    explorer.versus.value = "no single token at all"
    said = settled(explorer.runner)
    assert "ecco-error" in said
    assert "Contrast: " in said
    assert "versus" not in said
    assert is_stale(explorer)


def test_a_long_method_waits_to_be_started() -> None:
    record, asked = ec.saliency(LM, GENERATION, progress=False), list[str]()

    def estimate(method: str) -> Estimate:
        asked.append(method)
        return Estimate(170.0, "A shorter text makes it shorter.")

    explorer: Any = widgets.explore(
        record,
        compute=lambda **options: ec.saliency(LM, GENERATION, method="saliency", progress=False),
        methods=["saliency"],
        estimate=estimate,
    )
    explorer.method.value = "saliency"
    said = settled(explorer.runner)
    assert "saliency: about 3 min. A shorter text makes it shorter." in said
    assert asked == ["saliency"]
    assert is_stale(explorer)
    explorer.runner.start.click()
    assert settled(explorer.runner) == ""
    assert explorer.shown[0].method == "saliency"
    assert not is_stale(explorer)


def test_estimates_come_from_the_model_itself() -> None:
    explorer = opened()
    short, long = (explorer._estimate(name) for name in ("attention", "smooth_grad"))
    assert 0 < short.seconds < long.seconds
    assert "fewer outputs" in long.shorter


def test_two_methods_have_one_scale_and_a_number_of_agreement() -> None:
    explorer = opened()
    explorer.beside.value = "attention"
    assert settled(explorer.runner) == ""
    comparison = explorer.shown[0].compare(explorer.shown[1])
    explorer.selected = 2
    said = explorer.agreement.value
    assert f"Spearman {comparison.rank_correlation[2]:.3g}".replace("-", "−") in said
    both = np.maximum(*(np.abs(one.shares).max(axis=1) for one in explorer.shown))
    for strip in explorer.strips:
        np.testing.assert_allclose(strip.get_state()["_data"]["tops"], both)
    explorer.beside.value = ""
    assert explorer.agreement.value == ""
    assert "tops" not in explorer.strips[0].get_state()["_data"]


def test_a_contrast_is_completed_and_a_missing_space_is_said() -> None:
    complete = Completion(LM)
    vocabulary = {LM.tokenizer.decode([k]) for k in range(LM.vocabulary_size)}
    spaced = next(
        text for text in sorted(vocabulary)
        if text.startswith(" ") and text[1:].isalpha() and text[1:] in vocabulary
    )  # fmt: skip
    options, hint = complete(spaced[1:])
    assert spaced in options
    assert spaced[1:] in options
    assert "no space before it" in hint
    assert f"␣{spaced[1:]}" in hint
    options, hint = complete(spaced)
    assert all(text.startswith(spaced) for text in options)
    assert hint == ""
    options, _ = complete(f" a,{spaced}")
    assert options[0] == f" a,{spaced}"
    assert "tokens; choose one" in complete(" no single token")[1]
    assert complete("") == ([], "")
    explorer = opened()
    explorer.versus.typed = spaced[1:]
    assert spaced in explorer.versus.options
    assert "no space before it" in explorer.versus.hint
    assert not is_stale(explorer), "nothing is computed while a token is typed"


def test_an_edited_prompt_is_compared() -> None:
    generation = ec.generate(LM, "a text of words", max_new_tokens=4, progress=False)
    explorer = ec.saliency(LM, generation, progress=False).explore(LM)
    bar = explorer.editing
    text, start, end = bar._words[1]
    bar.word.value = 1
    bar.button.click()
    assert settled(explorer.runner) == ""
    ids = [*generation.prompt_ids[:start].tolist(), *generation.prompt_ids[end:].tolist()]
    dropped = ec.force_decode(LM, ids, generation.output_ids.tolist())
    expected = ec.saliency(LM, dropped, progress=False)
    np.testing.assert_array_equal(explorer.shown[1].scores, expected.scores)
    assert f"With “{text.strip()}” dropped" in explorer.strips[1].get_state()["_frame"]
    explorer.selected = 1
    change = dropped.logprobs[1] - generation.logprobs[1]
    assert f"({'+' if change > 0 else '−'}{abs(change):.3g}" in explorer.agreement.value
    bar.text.value = "b"
    bar.button.click()
    assert settled(explorer.runner) == ""
    after = explorer.shown[1].generation
    assert "changed to" in explorer.strips[1].get_state()["_frame"]
    assert after.output_ids.tolist() == generation.output_ids.tolist()
    assert "".join(after.tokens.texts).startswith(("a b", " a b"))
    bar.end.click()
    assert len(explorer.shown) == 1
    assert explorer.agreement.value == ""


def test_all_of_a_prompt_cannot_be_dropped() -> None:
    generation = ec.force_decode(LM, [5], [6, 7])
    explorer = ec.saliency(LM, generation, progress=False).explore(LM)
    explorer.editing.button.click()
    assert "Prompt: nothing is left of it" in settled(explorer.runner)


@pytest.mark.parametrize("beside", [False, True])
def test_what_is_shown_is_shared_as_html_without_links(beside: bool) -> None:
    explorer = opened()
    if beside:
        explorer.beside.value = "attention"
        settled(explorer.runner)
    explorer.selected = 3
    sent = list[dict[str, str]]()
    explorer.share.send = sent.append
    explorer.share._asked(None, {"share": True}, [])
    (message,) = sent
    html = message["html"]
    assert "https://" not in html
    assert "src=" not in html
    assert "<a " not in html
    if beside:
        assert html == explorer.shown[0].compare(explorer.shown[1]).fragment()
    else:
        assert '"first":3' in html
