"""Factors in a real browser, for everyone and at their limits: any theme, width, text and size."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest
from factors_samples import (
    every_factors_view,
    factors,
    factors_fragment,
    hostile_factors,
    levels_of,
    smooth,
)
from page_checks import CONTRASTS, axe_finds, hovers_smoothly
from page_reading import OPTION, SELECTED, TOKEN, document, shades, until
from record_samples import rankings
from view_samples import HOSTILE, countries, embedded, sanitised

VIEWS = every_factors_view()
READOUT = ".ecco-factors-readout"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", VIEWS)
def test_every_text_can_be_read(open_page: Callable, theme: str, kind: str) -> None:
    opened = open_page(document(VIEWS[kind]), color_scheme=theme, reduced_motion="reduce")
    sent = np.frombuffer(base64.b64decode(embedded(VIEWS[kind])["scores"]), "<f4")
    levels = levels_of(sent.reshape(-1, opened.locator(TOKEN).count())[1])
    for summary in opened.locator("summary").all():
        summary.click()
    opened.locator(OPTION).nth(1).click()
    opened.locator(OPTION).first.hover()
    until(opened, lambda: shades(opened) == levels)  # what is out of sight is painted later
    ratios = opened.evaluate(CONTRASTS)
    assert len(ratios) > 20
    assert min(ratios)[0] >= 4.5, min(ratios)


@pytest.mark.parametrize("scripts", [False, True])
@pytest.mark.parametrize("kind", VIEWS)
def test_axe_finds_nothing(open_page: Callable, kind: str, scripts: bool) -> None:
    view = VIEWS[kind] if scripts else VIEWS[kind].replace('type="module"', 'type="text/plain"')
    opened = open_page(document(view), width=500, bypass_csp=True)
    assert bool(opened.locator(OPTION).count()) == scripts
    for summary in opened.locator("summary").all():
        summary.click()
    assert axe_finds(opened) == []


@pytest.mark.parametrize("scripts", [False, True])
@pytest.mark.parametrize("width", [360, 900])
def test_narrow_screens_do_not_scroll_sideways(
    open_page: Callable, width: int, scripts: bool
) -> None:
    views = "".join([*VIEWS.values(), hostile_factors().fragment()])
    opened = open_page(document(views), width=width, java_script_enabled=scripts)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 900])
def test_texts_scroll_inside_their_card_and_headers_stay(open_page: Callable, width: int) -> None:
    opened = open_page(document(factors_fragment(30, 1000)), width=width)
    text, rows = opened.locator(".ecco-factors-text"), opened.locator(".ecco-factors-list")
    assert text.bounding_box()["height"] <= 480
    assert text.evaluate("n => n.scrollHeight > 2 * n.clientHeight")
    top = opened.locator(".ecco-factors-head").bounding_box()["y"]
    rows.evaluate("n => n.scrollTo(0, 300)")
    assert rows.evaluate("n => n.scrollTop") == 300
    assert opened.locator(".ecco-factors-head").bounding_box()["y"] == top
    below = text.bounding_box()["y"] > rows.bounding_box()["y"] + 100
    assert below == (width == 360)


def test_hostile_texts_do_not_run(open_page: Callable) -> None:
    opened = open_page(document(hostile_factors().fragment()))
    for k in (0, 5, 12, 21):
        opened.locator(OPTION).nth(k).hover()
        token = opened.locator(TOKEN).nth(k)
        token.scroll_into_view_if_needed()
        box = token.evaluate("n => n.getClientRects()[0].toJSON()")  # of its first line
        opened.mouse.move(box["x"] + 3, box["y"] + 8)
        assert f"position {k} · factor {k}: 1.10" in opened.locator(READOUT).inner_text()
    assert opened.locator(TOKEN).count() == len(HOSTILE)
    assert opened.title() == "Test"
    boxes = [row.bounding_box()["height"] for row in opened.locator(OPTION).all()]
    assert len(set(boxes)) == 1


def test_views_share_a_page_even_with_themselves_and_others(open_page: Callable) -> None:
    saliency, heat, plain = countries().fragment(), rankings().fragment(), VIEWS["all"]
    opened = open_page(document(plain + saliency + plain + heat + VIEWS["weights alone"]))
    alone = open_page(document(plain))
    cards = opened.locator(".ecco-factors")
    assert cards.count() == 3
    for k in range(3):
        cards.nth(k).locator(OPTION).nth(2).hover()
        assert "factor 2," in str(cards.nth(k).locator(SELECTED).get_attribute("aria-label"))
    assert "factor 2," in str(cards.first.locator(SELECTED).get_attribute("aria-label"))
    assert opened.locator(".ecco-live").count() == opened.locator(".ecco-heat-map").count() == 1
    sizes = "n => [...n.querySelectorAll('*')].map((c) => [c.offsetWidth, c.offsetHeight])"
    of_view = [page.locator(".ecco").first.evaluate(sizes) for page in (opened, alone)]
    assert of_view[0] == of_view[1], "style sheets of other views change nothing"
    both = [open_page(document(heat + more)) for more in ("", plain)]
    heats = [page.locator(".ecco-heat-map").evaluate(sizes) for page in both]
    assert heats[0] == heats[1]
    both = [open_page(document(saliency + more)) for more in ("", plain)]
    texts = [page.locator(".ecco-live").evaluate(sizes) for page in both]
    assert texts[0] == texts[1]


def test_an_untrusted_notebook_shows_the_table(open_page: Callable) -> None:
    opened = open_page(f"<meta charset=utf-8>{sanitised(VIEWS['all'])}", width=500)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 500
    assert opened.get_by_text(factors().sentence).is_visible()
    assert opened.get_by_text("0.625 [0.525, 0.725]").is_visible()
    read = "nodes => nodes.map((n) => getComputedStyle(n).backgroundColor)"
    shaded = opened.locator("td span span").evaluate_all(read)
    assert len(shaded) == 6 * 5
    assert all(colour.startswith("rgba(139, 98, 225, 0.") for colour in shaded)


def test_printing_shows_the_whole_text_with_its_shades(open_page: Callable) -> None:
    opened = open_page(document(factors_fragment(20, 1000)))
    until(opened, lambda: shades(opened) == levels_of(smooth(20, 1000)[0]))
    opened.emulate_media(media="print")
    for name in (".ecco-factors-text", ".ecco-factors-list"):
        style = opened.locator(name).evaluate("n => [n.scrollHeight, n.clientHeight]")
        assert style[0] <= style[1] + 1
    assert not opened.locator(READOUT).is_visible()
    adjust = "n => getComputedStyle(n).printColorAdjust"
    for name in (TOKEN, f"{OPTION} path", ".ecco-ramp"):
        assert opened.locator(name).first.evaluate(adjust) == "exact"


def test_many_factors_of_a_long_text_are_hovered_smoothly(open_page: Callable) -> None:
    opened = open_page(document(factors_fragment(30, 2000)))
    rows = [opened.locator(OPTION).nth(k).bounding_box() for k in range(9)] * 2
    tokens = [opened.locator(TOKEN).nth(i).bounding_box() for i in range(0, 60, 4)]
    assert hovers_smoothly(opened, rows)
    until(opened, lambda: shades(opened) == levels_of(smooth(30, 2000)[8]))
    assert hovers_smoothly(opened, tokens)
