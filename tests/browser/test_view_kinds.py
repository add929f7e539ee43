"""The static view of some outputs, of masks, of classes, and of scores below zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from page_reading import OPTION, SELECTED, TOKEN, document, expect_shades
from view_samples import classified, countries, masked, only

from ecco_captum.core.text import format_share, visible

SOME = [2, 4, 8]
WHOLE = countries()


def label(opened: Any) -> str:
    return str(opened.locator(SELECTED).get_attribute("aria-label"))


def test_outputs_that_are_not_explained_are_text_and_sources_only(open_page: Callable) -> None:
    tokens, scores = WHOLE.tokens, WHOLE.scores
    opened = open_page(document(only(WHOLE, SOME).fragment()))
    assert opened.locator(OPTION).count() == len(SOME)
    assert opened.locator(TOKEN).count() == len(tokens)
    assert "9 tokens, 3 explained" in opened.locator(".ecco-divider").nth(1).inner_text()
    outputs = opened.locator(".ecco-output .ecco-t")
    outputs.nth(8).hover()
    assert "output 8," in label(opened)
    expect_shades(opened, scores[8])
    for t in (0, 3, 7):  # pointed at, clicked at: nothing is chosen, but read as a source
        outputs.nth(t).click()
        assert "output 8," in label(opened)
        share = format_share(scores[8, tokens.prompt_length + t] / scores[8].sum())
        assert f"gave {share}" in opened.locator(".ecco-readout").inner_text()
    styles = "n => [getComputedStyle(n).cursor, getComputedStyle(n).backgroundImage === 'none']"
    assert outputs.nth(8).evaluate(styles) == ["pointer", False]
    assert outputs.nth(7).evaluate(styles) == ["auto", True]


def test_arrows_go_from_one_explained_output_to_the_next(open_page: Callable) -> None:
    opened = open_page(document(only(WHOLE, SOME).fragment()))
    opened.locator(OPTION).first.focus()
    steps = ("ArrowRight", 4), ("ArrowRight", 8), ("ArrowRight", 8), ("Home", 2), ("End", 8)
    for key, t in (*steps, ("ArrowUp", 4), ("ArrowUp", 4), ("ArrowDown", 8), ("ArrowLeft", 4)):
        opened.keyboard.press(key)
        assert f"output {t}," in label(opened), key
        expect_shades(opened, WHOLE.scores[t])


def test_a_prediction_outlines_its_mask(open_page: Callable) -> None:
    record = masked()
    tokens, places = record.tokens, record.generation.places.tolist()
    opened = open_page(document(record.fragment()))
    assert opened.get_by_role("group", name="Text").count() == 1
    assert opened.get_by_role("listbox", name="Predicted tokens").count() == 1
    outlined = "nodes => nodes.flatMap((n, i) => n.hasAttribute('data-place') ? [i] : [])"
    for t in (0, 1, 0):
        opened.locator(OPTION).nth(t).hover()
        expect_shades(opened, record.scores[t])
        assert opened.locator(TOKEN).evaluate_all(outlined) == [places[t]]
        where = f"output {t} · mask at position {places[t]}"
        assert opened.locator(".ecco-place").inner_text() == where
    opened.get_by_role("button", name="In order").click()
    rows = opened.locator(".ecco-row:visible .ecco-token").all_inner_texts()
    assert rows == [visible(text) for text in tokens.texts[: tokens.prompt_length]]


def test_a_class_has_sources_for_and_against(open_page: Callable) -> None:
    scores = classified().scores
    opened = open_page(document(classified().fragment()))
    assert opened.get_by_role("listbox", name="Classes").count() == 1
    expect_shades(opened, scores[0])
    assert opened.locator(".ecco-hint").inner_text().startswith("Shown: “POSITIVE”")
    spans = opened.locator(".ecco-legend span").all_inner_texts()
    share = format_share(scores.max() / np.abs(scores).sum())
    assert spans == [
        "against",
        format_share(-scores.max() / np.abs(scores).sum()),
        "",
        share,
        "for",
    ]
    opened.locator(TOKEN).nth(3).hover()
    against = format_share(scores[0, 3] / np.abs(scores).sum())
    readout = opened.locator(".ecco-readout")
    assert readout.inner_text() == f"“not” lowered the score: {against}, score −1.50"
    opened.locator(TOKEN).nth(4).hover()
    assert readout.inner_text().startswith(f"“bad” gave {share}")
    opened.locator(OPTION).focus()
    said = opened.locator("[aria-live]").inner_text()
    assert said.startswith(f"POSITIVE came from bad {share}, all ")
    assert said.endswith(f"; lowered by not {against}")


def test_a_strongest_source_below_zero_is_called_so(open_page: Callable) -> None:
    opened = open_page(document(classified(-1).fragment()))
    assert "strongest source, lowering the score, bad, −" in label(opened)
    bars = opened.locator(".ecco-length")
    below = bars.evaluate_all("nodes => nodes.map((n) => n.classList.contains('ecco-below'))")
    assert below == [True, False, True, True, True, True, True]
    cool, warm = (
        opened.locator(f".ecco-length{kind}").first.evaluate(
            "n => getComputedStyle(n).backgroundColor"
        )
        for kind in (".ecco-below", ":not(.ecco-below)")
    )
    assert cool != warm


def test_a_short_text_leaves_no_empty_rows(open_page: Callable) -> None:
    opened = open_page(document(classified().fragment()))
    assert opened.get_by_role("button", name="Show").count() == 0
    pane, last = (opened.locator(name).last.bounding_box() for name in (".ecco-pane", ".ecco-row"))
    assert pane["y"] + pane["height"] - last["y"] - last["height"] < 2
