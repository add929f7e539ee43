"""The static view for everyone: by keyboard, by ear, in any theme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from page_checks import CONTRASTS, axe_finds
from page_reading import OPTION, SELECTED, document, expect_shades
from view_samples import classified, countries, embedded, faithful, masked, only

from ecco_captum.core.text import format_share, visible

KINDS = {
    "some outputs, with faithfulness below": lambda: only(countries(), [2, 8]).fragment(
        faithful().strip()
    ),
    "masks": lambda: masked().fragment(),
    "class": lambda: classified().fragment(),
    "comparison": lambda: countries().compare(countries(signed=True)).fragment(),
    "faithfulness": lambda: faithful().fragment(),
}


def test_keyboard_reaches_every_output_and_reads_it_out(open_page: Callable) -> None:
    tokens, scores, view = countries().tokens, countries().scores, countries().fragment()
    opened, first = open_page(document(view)), embedded(view)["first"]

    def focused() -> str:
        return str(opened.evaluate("document.activeElement.getAttribute('aria-label')"))

    opened.keyboard.press("Tab")
    assert f"output {first}," in focused()
    for key, t in (("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", 8), ("ArrowRight", 8)):
        opened.keyboard.press(key)
        assert f"output {t}," in focused()
        expect_shades(opened, scores[t])
    opened.keyboard.press("Home")
    opened.keyboard.press("ArrowDown")
    assert "output 4," in focused(), "the nearest below is the word of the next line"
    top = int(scores[4].argmax())
    share = format_share(scores[4].max() / scores[4].sum())
    assert f"strongest source {visible(tokens.texts[top])}, {share}" in focused()
    assert f"{visible(tokens.texts[top])} {share}" in opened.locator("[aria-live]").inner_text()
    opened.keyboard.press("ArrowUp")
    assert "output 0," in focused()
    assert opened.locator(f"{OPTION}[tabindex='0']").count() == 1
    opened.keyboard.press("Enter")
    opened.locator(OPTION).nth(5).hover()
    assert "output 0," in str(opened.locator(SELECTED).get_attribute("aria-label"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_text_can_be_read(open_page: Callable, theme: str, signed: bool) -> None:
    scores = countries(signed=signed).scores.copy()
    scores[8, :19] = np.linspace(-1 if signed else 0.1, 1, 19)
    view = replace(countries(), scores=scores).fragment()
    opened = open_page(document(view), color_scheme=theme, reduced_motion="reduce")
    for t in (8, 3):
        opened.locator(OPTION).nth(t).click()
        ratios = opened.evaluate(CONTRASTS)
        assert len(ratios) > 60
        assert min(ratios)[0] >= 4.5, min(ratios)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_text_of_every_kind_can_be_read(open_page: Callable, theme: str, kind: str) -> None:
    opened = open_page(document(KINDS[kind]()), color_scheme=theme, reduced_motion="reduce")
    for summary in opened.locator("summary").all():
        summary.click()
    ratios = opened.evaluate(CONTRASTS)
    assert len(ratios) > 30
    assert min(ratios)[0] >= 4.5, min(ratios)


@pytest.mark.parametrize("width", [360, 900])
@pytest.mark.parametrize("scripts", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_screens_do_not_scroll_sideways(
    open_page: Callable, width: int, scripts: bool, kind: str
) -> None:
    opened = open_page(document(KINDS[kind]()), width=width, java_script_enabled=scripts)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_in_any_kind(open_page: Callable, kind: str) -> None:
    opened = open_page(document(KINDS[kind]()), width=500, bypass_csp=True)
    for summary in opened.locator("summary").all():
        summary.click()
    assert axe_finds(opened) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Callable, theme: str) -> None:
    opened = open_page(
        document(countries(signed=True).fragment()), color_scheme=theme, bypass_csp=True
    )
    opened.get_by_role("button", name="Show all").click()
    assert axe_finds(opened) == []
