"""Factors in a real browser: by pointer, by keyboard, by ear, in any theme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from factors_samples import (
    every_factors_view,
    factors,
    factors_fragment,
    levels_of,
    random_text,
    smooth,
    stability,
)
from page_reading import OPTION, SELECTED, TOKEN, document, shades, until

from ecco_captum.core.text import format_number, format_share, visible
from ecco_captum.display.colours import LEVELS, shade

VIEWS = every_factors_view()
WEIGHTS = smooth()
READOUT = ".ecco-factors-readout"
BOXES = """() => [...document.querySelectorAll('.ecco *')].filter((n) => n.checkVisibility())
  .map((n) => { const b = n.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"""


def selected(opened: Any) -> str:
    return str(opened.locator(SELECTED).get_attribute("aria-label"))


def readout(opened: Any) -> str:
    return str(opened.locator(READOUT).inner_text())


def said_of(position: int, weights: np.ndarray = WEIGHTS) -> str:
    column = weights[:, position].astype(np.float32)
    order = [k for k in np.argsort(-column, kind="stable")[:3] if column[k] > 0]
    list_ = ", ".join(f"factor {k}: {format_number(float(column[k]))}" for k in order)
    name = visible(random_text()[position])
    return f"“{name}”, position {position} · {list_ or 'no factor has a weight here'}"


def test_hover_shades_the_text_by_the_hovered_factor(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["all"]))
    assert opened.locator(".ecco-plain").count() == 0
    for k in (0, 4, 2, 5):
        if k:
            opened.locator(OPTION).nth(k).hover()
        assert selected(opened).startswith(f"factor {k},")
        until(opened, lambda k=k: shades(opened) == levels_of(WEIGHTS[k]))
        peak = format_number(float(np.float32(WEIGHTS[k].max())))
        legend = opened.locator(".ecco-legend span").all_inner_texts()
        assert legend == [f"weight of factor {k}", "0", "", peak]
    opened.mouse.move(2, 2)
    assert selected(opened).startswith("factor 5,"), "the last one stays"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_strongest_token_has_the_strongest_shade(open_page: Callable, theme: str) -> None:
    opened = open_page(document(VIEWS["all"]), color_scheme=theme, reduced_motion="reduce")
    colour = shade(LEVELS)[theme == "dark"]
    rgb = ", ".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    top = opened.locator(TOKEN).nth(int(WEIGHTS[0].argmax()))
    until(opened, lambda: shades(opened) == levels_of(WEIGHTS[0]))
    assert top.evaluate("n => getComputedStyle(n).backgroundColor") == f"rgb({rgb})"


def test_a_row_says_everything(open_page: Callable) -> None:
    opened, record, texts = open_page(document(VIEWS["all"])), factors(), random_text()
    for k, row in enumerate(WEIGHTS):
        tops = [visible(texts[i]) for i in np.argsort(-row, kind="stable")[:5]]
        share, again = format_share(record.contributions[k]), f"{stability()[k]:.2f}"
        option = opened.locator(OPTION).nth(k)
        assert option.inner_text().split() == [str(k), share, again, *tops]
        label = f"factor {k}, explains {share}, stability {again}, strongest at "
        assert option.get_attribute("aria-label") == label + ", ".join(tops[:3])
    bare = open_page(document(VIEWS["weights alone"])).locator(OPTION).first
    assert "stability" not in str(bare.get_attribute("aria-label"))
    none = open_page(document(VIEWS["without weight"])).locator(OPTION).last
    assert str(none.get_attribute("aria-label")).endswith(", without weight")


def test_lines_are_as_high_as_the_weights(open_page: Callable) -> None:
    weights = np.array([[1.0, 0.0, 4.0, 2.0]])
    opened = open_page(document(factors(weights).fragment()))
    assert opened.locator(f"{OPTION} path").get_attribute("d") == (
        "M0 24V18.25H60V24H120V1H180V12.5H240V24Z"
    )
    long = open_page(document(factors_fragment(2, 2000)))
    path = long.locator(f"{OPTION} path").first.get_attribute("d")
    assert path.count("H") == 240
    assert "V1H" in path, "the largest weight of a long text is not lost"
    some = open_page(document(VIEWS["some texts"]))
    at = some.locator(f"{OPTION} >> nth=0 >> line").evaluate_all(
        "n => n.map((l) => +l.x1.baseVal.value)"
    )
    np.testing.assert_allclose(at, [80, 200], rtol=1e-5)
    assert some.locator(".ecco-divider").all_inner_texts() == ["TEXT 0", "TEXT 1", "TEXT 2"]


def test_a_token_names_its_strongest_factors_and_nothing_moves(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["all"]), reduced_motion="reduce")
    opened.locator(OPTION).nth(1).hover()
    opened.mouse.move(2, 2)
    until(opened, lambda: shades(opened) == levels_of(WEIGHTS[1]))
    others = BOXES.replace(
        "'.ecco *'", "'.ecco *:not(.ecco-factor-weight, .ecco-factors-readout bdi)'"
    )
    before = opened.evaluate(others)
    for position in (0, 40, 17, 3):
        opened.locator(TOKEN).nth(position).hover()
        assert readout(opened) == said_of(position)
        assert opened.locator("[data-marked]").count() == 1
        marked = opened.locator(TOKEN).nth(position)
        assert marked.get_attribute("data-marked") == ""
        at = opened.locator("[role=listbox]").evaluate(
            "n => +n.style.getPropertyValue('--ecco-at')"
        )
        assert at == pytest.approx((position + 0.5) / WEIGHTS.shape[1])
        assert opened.evaluate(others) == before
    opened.mouse.move(2, 2)
    assert readout(opened) == said_of(3), "the last one stays"
    assert selected(opened).startswith("factor 1,"), "to hover a token selects nothing"
    line = opened.locator(".ecco-factor-line").nth(2)
    left = line.evaluate("n => parseFloat(getComputedStyle(n, '::after').left)")
    assert left == pytest.approx(line.bounding_box()["width"] * 3.5 / WEIGHTS.shape[1], abs=0.1)


@pytest.mark.parametrize("touch", [False, True])
def test_a_token_leads_to_its_strongest_factor(open_page: Callable, touch: bool) -> None:
    opened = open_page(document(factors_fragment(30)), has_touch=touch)
    weights, y = smooth(30), opened.evaluate("scrollY")
    for position in (12, 30, 55):
        token = opened.locator(TOKEN).nth(position)
        (token.tap if touch else token.click)()
        k = int(weights[:, position].argmax())
        assert selected(opened).startswith(f"factor {k},")
        pane, row = (opened.locator(n).bounding_box() for n in (".ecco-factors-list", SELECTED))
        head = opened.locator(".ecco-factors-head").bounding_box()
        assert row["y"] >= head["y"] + head["height"] - 1
        assert row["y"] + row["height"] <= pane["y"] + pane["height"] + 1
        assert opened.evaluate("scrollY") == y, "the page stays where it is"


def test_a_click_holds_a_factor_and_shows_where_it_is_strongest(open_page: Callable) -> None:
    opened = open_page(document(factors_fragment(8, 1500)))
    weights, rows = smooth(8, 1500), opened.locator(OPTION)

    def seen(position: int) -> bool:
        pane = opened.locator(".ecco-factors-text").bounding_box()
        token = opened.locator(TOKEN).nth(position).bounding_box()
        return bool(pane["y"] <= token["y"] + 4 <= pane["y"] + pane["height"])

    k = int(weights.argmax(axis=1).argmax())
    top = int(weights[k].argmax())
    assert not seen(top)
    rows.nth(k).hover()
    assert not seen(top), "hover does not scroll"
    rows.nth(k).click()
    assert seen(top)
    rows.nth((k + 1) % 8).hover()
    assert selected(opened).startswith(f"factor {k},")
    opened.keyboard.press("Escape")
    rows.nth((k + 2) % 8).hover()
    assert selected(opened).startswith(f"factor {(k + 2) % 8},")
    names = rows.nth(k).locator("bdi")
    names.nth(4).click()
    assert seen(int(np.argsort(-weights[k], kind="stable")[4]))
    names.nth(4).click()
    rows.first.hover()
    assert selected(opened).startswith("factor 0,"), "a second click releases"


def test_the_keyboard_has_one_stop_for_all_factors(open_page: Callable) -> None:
    opened = open_page(document(factors_fragment(30)))
    opened.keyboard.press("Tab")
    last = 29
    steps = ("ArrowUp", 0), ("ArrowDown", 1), ("End", last), ("ArrowDown", last), ("Home", 0)
    for key, k in (*steps, *(("ArrowDown", n) for n in range(1, 25)), ("ArrowUp", 23)):
        opened.keyboard.press(key)
        label = opened.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label == selected(opened)
        assert label.startswith(f"factor {k},")
        assert opened.locator(f"{OPTION}[tabindex='0']").count() == 1
        on_top = """() => { const b = document.activeElement.getBoundingClientRect();
          const seen = document.elementFromPoint(b.x + 9, b.y + b.height / 2);
          return document.activeElement.contains(seen); }"""
        assert opened.evaluate(on_top), key
    opened.keyboard.press("Enter")
    opened.locator(OPTION).nth(21).hover()
    assert selected(opened).startswith("factor 23,")


def test_the_keyboard_reads_the_tokens(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["all"]))
    opened.keyboard.press("Tab")
    opened.keyboard.press("Tab")
    for key, position in (("ArrowLeft", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        opened.keyboard.press(key)
        assert opened.locator("[aria-live]").inner_text() == readout(opened) == said_of(position)
    opened.keyboard.press("Enter")
    assert selected(opened).startswith(f"factor {WEIGHTS[:, 1].argmax()},")


# How strong each line under a token is; each has its colour twice.
LINES = r"""(node) => [...node.style.backgroundImage.matchAll(/([\d.]+)%/g)]
  .filter((_, k) => k % 2 === 0).map((found) => Number(found[1]) / 100)"""


def test_several_factors_are_underlined_at_once(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["all"]))
    chips = opened.locator(".ecco-factors-together button")
    assert chips.count() == len(WEIGHTS)
    assert opened.locator(".ecco-underlined").count() == 0
    for k in (1, 4):
        chips.nth(k).click()
    pressed = [chips.nth(k).get_attribute("aria-pressed") == "true" for k in range(len(WEIGHTS))]
    assert [k for k, on in enumerate(pressed) if on] == [1, 4]
    assert opened.locator(".ecco-underlined").count() == 1
    for position in (int(WEIGHTS[1].argmax()), int(WEIGHTS[4].argmax())):
        first, second, third = opened.locator(TOKEN).nth(position).evaluate(LINES)
        np.testing.assert_allclose(first, WEIGHTS[1, position] / WEIGHTS[1].max(), atol=0.02)
        np.testing.assert_allclose(second, WEIGHTS[4, position] / WEIGHTS[4].max(), atol=0.02)
        assert third == 0
    opened.locator(OPTION).nth(2).hover()
    until(opened, lambda: shades(opened) == levels_of(WEIGHTS[2]))
    for k in (0, 2):  # three are the most: the first gives way
        chips.nth(k).click()
    pressed = [chips.nth(k).get_attribute("aria-pressed") == "true" for k in range(len(WEIGHTS))]
    assert [k for k, on in enumerate(pressed) if on] == [0, 2, 4]
    for k in (0, 2, 4):
        chips.nth(k).click()
    assert opened.locator(".ecco-underlined").count() == 0
