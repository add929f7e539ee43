"""The static view of some outputs, of masks, of classes, and of scores below zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from page_reading import OPTION, SELECTED, TOKEN, document, expected_shades, shades
from view_samples import classified, countries, masked

from ecco_captum.attribution.html import saliency_view
from ecco_captum.core.text import format_share, visible

SOME = [2, 4, 8]


def label(opened: Any) -> str:
    return str(opened.locator(SELECTED).get_attribute("aria-label"))


def test_outputs_that_are_not_explained_are_text_and_sources_only(open_page: Callable) -> None:
    tokens, scores = countries()
    opened = open_page(document(saliency_view(tokens, scores[SOME], outputs=SOME)))
    assert opened.locator(OPTION).count() == len(SOME)
    assert opened.locator(TOKEN).count() == len(tokens)
    assert "9 tokens, 3 explained" in opened.locator(".ecco-divider").nth(1).inner_text()
    outputs = opened.locator(".ecco-output .ecco-t")
    outputs.nth(8).hover()
    assert "output 8," in label(opened)
    assert shades(opened) == expected_shades(scores[8])
    for t in (0, 3, 7):  # pointed at, clicked at: nothing is chosen, but read as a source
        outputs.nth(t).click()
        assert "output 8," in label(opened)
        share = format_share(scores[8, tokens.prompt_length + t] / scores[8].sum())
        assert f"gave {share}" in opened.locator(".ecco-readout").inner_text()
    styles = "n => [getComputedStyle(n).cursor, getComputedStyle(n).backgroundImage === 'none']"
    assert outputs.nth(8).evaluate(styles) == ["pointer", False]
    assert outputs.nth(7).evaluate(styles) == ["auto", True]


def test_arrows_go_from_one_explained_output_to_the_next(open_page: Callable) -> None:
    tokens, scores = countries()
    opened = open_page(document(saliency_view(tokens, scores[SOME], outputs=SOME)))
    opened.locator(OPTION).first.focus()
    steps = ("ArrowRight", 4), ("ArrowRight", 8), ("ArrowRight", 8), ("Home", 2), ("End", 8)
    for key, t in (*steps, ("ArrowUp", 4), ("ArrowUp", 4), ("ArrowDown", 8), ("ArrowLeft", 4)):
        opened.keyboard.press(key)
        assert f"output {t}," in label(opened), key
        assert shades(opened) == expected_shades(scores[t])


def test_a_prediction_outlines_its_mask(open_page: Callable) -> None:
    tokens, scores, places = masked()
    view = saliency_view(tokens, scores, task="masked", places=places)
    opened = open_page(document(view))
    assert opened.get_by_role("group", name="Text").count() == 1
    assert opened.get_by_role("listbox", name="Predicted tokens").count() == 1
    outlined = "nodes => nodes.flatMap((n, i) => n.hasAttribute('data-place') ? [i] : [])"
    for t in (0, 1, 0):
        opened.locator(OPTION).nth(t).hover()
        assert shades(opened) == expected_shades(scores[t])
        assert opened.locator(TOKEN).evaluate_all(outlined) == [places[t]]
        where = f"output {t} · mask at position {places[t]}"
        assert opened.locator(".ecco-place").inner_text() == where
    opened.get_by_role("button", name="In order").click()
    rows = opened.locator(".ecco-row:visible .ecco-token").all_inner_texts()
    assert rows == [visible(text) for text in tokens.texts[: tokens.prompt_length]]


def test_a_class_has_sources_for_and_against(open_page: Callable) -> None:
    tokens, scores = classified()
    opened = open_page(document(saliency_view(tokens, scores, task="classification")))
    assert opened.get_by_role("listbox", name="Classes").count() == 1
    assert shades(opened) == expected_shades(scores[0])
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
    assert readout.inner_text() == f"“not” spoke against it: {against}, score −1.50"
    opened.locator(TOKEN).nth(4).hover()
    assert readout.inner_text().startswith(f"“bad” gave {share}")
    opened.locator(OPTION).focus()
    said = opened.locator("[aria-live]").inner_text()
    assert said.startswith(f"POSITIVE came from bad {share}, all ")
    assert said.endswith(f"; against it spoke not {against}")


def test_a_strongest_source_below_zero_is_called_so(open_page: Callable) -> None:
    tokens, scores = classified()
    view = saliency_view(tokens, -scores, task="classification")
    opened = open_page(document(view))
    assert "strongest source, against it, bad, −" in label(opened)
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
    opened = open_page(document(saliency_view(*classified(), task="classification")))
    assert opened.get_by_role("button", name="Show").count() == 0
    pane, last = (opened.locator(name).last.bounding_box() for name in (".ecco-pane", ".ecco-row"))
    assert pane["y"] + pane["height"] - last["y"] - last["height"] < 2
