"""The static view in a real browser: what is seen, pointed at, tabbed to and printed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from page_reading import OPTION, SELECTED, TOKEN, document, expect_shades, shades, until
from view_samples import attribution, countries, embedded, hostile, long_text, sanitised

from ecco_captum.core.text import format_number, format_share, visible


@pytest.mark.parametrize("signed", [False, True])
def test_hover_shades_earlier_tokens_by_their_share(open_page: Callable, signed: bool) -> None:
    view, scores = countries(signed=signed).fragment(), countries(signed=signed).scores
    opened = open_page(document(view))
    assert opened.locator(".ecco-plain").count() == 0
    expect_shades(opened, scores[embedded(view)["first"]])
    for t in (4, 0, 8):
        opened.locator(OPTION).nth(t).hover()
        expect_shades(opened, scores[t])
        peak = np.abs(scores[t]).max() / np.abs(scores[t]).sum()
        ends = opened.locator(".ecco-legend span").all_inner_texts()
        assert ends[1] == (format_share(-peak) if signed else "0%")
        assert ends[3] == format_share(peak)
    opened.mouse.move(5, 5)
    expect_shades(opened, scores[8])  # the last one stays
    assert opened.locator(SELECTED).get_attribute("aria-label").startswith("Croatia, output 8")


@pytest.mark.parametrize("signed", [False, True])
def test_detail_gives_the_numbers_in_either_order(open_page: Callable, signed: bool) -> None:
    record = countries(signed=signed)
    opened = open_page(document(record.fragment()))
    opened.locator(OPTION).nth(8).hover()
    row, earlier, texts = record.scores[8], 11 + 8, record.tokens.texts
    order = np.argsort(-np.abs(row[:earlier]), kind="stable").tolist()

    def rows(positions: list[int]) -> list[list[str]]:
        total = np.abs(row).sum(dtype=np.float64)
        shares = [format_share(row[p] / total) for p in positions]
        return [
            [visible(texts[p]), str(p), "", share, format_number(float(row[p]))]
            for p, share in zip(positions, shares, strict=True)
        ]

    def shown() -> list[list[str]]:
        lines = opened.locator(".ecco-row:visible").all()
        return [line.locator("th, td").all_inner_texts() for line in lines]

    assert shown() == rows(order[:10])
    heights = "rows => rows.map((row) => row.getBoundingClientRect().height)"
    assert set(opened.locator(".ecco-row").evaluate_all(heights)) == {26}, "rows are placed by it"
    overflow = "pane => pane.scrollHeight - pane.clientHeight"
    assert opened.locator(".ecco-pane").evaluate(overflow) <= 0, "ten rows fit"
    opened.get_by_role("button", name="In order").click()
    assert shown() == rows(sorted(order[:10]))
    opened.get_by_role("button", name=f"Show all {earlier}").click()
    assert shown() == rows(list(range(earlier)))
    opened.get_by_role("button", name="Strongest").click()
    assert shown() == rows(order)
    assert record.unit in opened.locator(".ecco-unit").inner_text()
    widths = opened.locator(".ecco-length").evaluate_all("n => n.map((x) => x.style.width)")
    bars = [float(width.rstrip("%")) for width in widths[:earlier]]
    assert bars == pytest.approx(100 * np.abs(row[order]) / np.abs(row).max(), abs=1e-3)


def test_a_click_pins_and_a_second_one_or_escape_releases(open_page: Callable) -> None:
    opened = open_page(document(countries().fragment()))
    options = opened.locator(OPTION)

    def selected_after_hover(t: int) -> str:
        options.nth(t).hover()
        return str(opened.locator(SELECTED).get_attribute("aria-label")).split(",")[1].strip()

    options.nth(4).click()
    assert selected_after_hover(6) == "output 4"
    options.nth(6).click()
    assert selected_after_hover(2) == "output 6", "a click on another moves the pin"
    options.nth(6).click()
    assert selected_after_hover(2) == "output 2"
    options.nth(2).click()
    assert selected_after_hover(3) == "output 2"
    opened.keyboard.press("Escape")
    assert selected_after_hover(5) == "output 5"


def test_a_notebooks_theme_outweighs_the_systems(open_page: Callable) -> None:
    def card(attribute: str, system: str) -> str:
        html = document(countries().fragment()).replace("<body", f"<body {attribute}")
        opened = open_page(html, color_scheme=system)
        style = "getComputedStyle(document.querySelector('.ecco-card')).backgroundColor"
        return str(opened.evaluate(style))

    light, dark = card("", "light"), card("", "dark")
    assert light != dark
    assert card('data-jp-theme-light="false"', "light") == dark
    assert card('data-jp-theme-light="true"', "dark") == light


@pytest.mark.parametrize("width", [360, 900])
@pytest.mark.parametrize("scripts", [False, True])
@pytest.mark.parametrize("texts", [countries, hostile])
def test_narrow_screens_do_not_scroll_sideways(
    open_page: Callable, width: int, scripts: bool, texts: Callable
) -> None:
    opened = open_page(document(texts().fragment()), width=width, java_script_enabled=scripts)
    assert opened.locator(".ecco-live").count() == scripts
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.title() == "Test", "no text of a token ran as a script"
    if scripts:
        cut = "nodes => nodes.filter((n) => n.scrollWidth > n.clientWidth + 1).length"
        assert opened.locator(".ecco-share, .ecco-score, .ecco-at").evaluate_all(cut) == 0


def test_without_scripts_the_table_is_seen(open_page: Callable) -> None:
    view = countries().fragment()
    opened = open_page(document(view), java_script_enabled=False)
    assert opened.locator(".ecco-plain tbody tr:visible").count() == 9
    assert opened.get_by_role("button").count() == 0
    stripped = open_page(f"<meta charset=utf-8>{sanitised(view)}")
    assert stripped.locator("table tbody tr:visible").count() == 9


def test_an_output_without_any_source_says_so(open_page: Callable) -> None:
    record = attribution((" One", " two", " three"), 0, [[0, 0, 0], [2, 0, 0], [0, 0, 0]])
    opened = open_page(document(record.fragment()))
    for t, label in ((0, "One, output 0, without"), (2, "three, output 2, without any score")):
        opened.locator(OPTION).nth(t).click()
        assert str(opened.locator(SELECTED).get_attribute("aria-label")).startswith(label)
        until(opened, lambda: shades(opened) == [0, 0, 0])
        assert opened.locator(".ecco-legend span").all_inner_texts()[3] == "0%"
    assert opened.locator(".ecco-share:visible").all_inner_texts() == ["Share", "0%", "0%"]


def test_nothing_moves_on_hover(open_page: Callable) -> None:
    opened = open_page(document(hostile().fragment()))
    boxes = "nodes => nodes.map((n) => JSON.stringify(n.getBoundingClientRect()))"
    places = ".ecco-t, .ecco-card, .ecco-legend, .ecco-pane, .ecco-note, .ecco-detail button"
    before = opened.locator(places).evaluate_all(boxes)
    for t in (0, 25, 9):
        opened.locator(OPTION).nth(t).hover()
        assert opened.locator(places).evaluate_all(boxes) == before


def test_a_row_of_the_table_points_at_its_token(open_page: Callable) -> None:
    opened = open_page(document(long_text(2000, 5).fragment()))
    position = int(opened.locator(".ecco-row .ecco-at").first.inner_text())
    opened.locator(".ecco-row").first.hover()
    marked = "nodes => nodes.flatMap((n, i) => n.hasAttribute('data-marked') ? [i] : [])"
    assert opened.locator(TOKEN).evaluate_all(marked) == [position]
    pane = opened.locator(".ecco-prompt")
    assert pane.get_attribute("tabindex") == "0", "a pane that scrolls is reached by keyboard"
    opened.locator(".ecco-row").first.click()
    inside = pane.evaluate("n => n.getBoundingClientRect().toJSON()")
    box = opened.locator(TOKEN).nth(position).bounding_box()
    assert inside["top"] <= box["y"] <= inside["bottom"] - box["height"]
    opened.mouse.move(5, 5)
    assert opened.locator(TOKEN).evaluate_all(marked) == []


def test_print_is_black_on_white_with_shades(open_page: Callable) -> None:
    view = countries().fragment()
    opened = open_page(document(view), color_scheme="dark")
    opened.emulate_media(media="print", color_scheme="dark", reduced_motion="reduce")
    strongest = int(countries().scores[embedded(view)["first"]].argmax())
    style = "node => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]"
    assert opened.locator(".ecco-strip").first.evaluate(style)[0] == "rgb(0, 0, 0)"
    assert opened.locator(".ecco-card").first.evaluate(style)[1] == "rgb(255, 255, 255)"
    assert opened.locator(TOKEN).nth(strongest).evaluate(style)[1] == "rgb(109, 63, 196)"
    exact = "node => getComputedStyle(node).printColorAdjust"
    assert opened.locator(TOKEN).nth(strongest).evaluate(exact) == "exact"


def test_many_views_share_a_page(open_page: Callable) -> None:
    view, other = countries().fragment(), countries(signed=True).fragment()
    opened = open_page(document(view + other + view))
    assert opened.locator(".ecco-live").count() == 3
    lists = opened.get_by_role("listbox")
    lists.nth(2).locator(OPTION).nth(0).hover()
    labels = [lists.nth(i).locator(SELECTED).get_attribute("aria-label") for i in range(3)]
    assert "output 0," in labels[2]
    assert "output 0," not in labels[0]


def test_a_script_that_runs_before_its_view_is_attached_waits(open_page: Callable) -> None:
    opened = open_page("<meta charset=utf-8><body></body>")
    opened.evaluate(
        """(view) => {
          const host = document.createElement('div');
          host.innerHTML = view;
          const dead = host.querySelector('script[type=module]');
          const script = document.createElement('script');
          script.type = dead.type;
          script.textContent = dead.textContent;
          document.body.append(script);
          setTimeout(() => document.body.append(host), 200);
        }""",
        countries().fragment(),
    )
    opened.locator(OPTION).nth(3).hover()
    assert opened.locator(".ecco-plain").count() == 0


def test_a_page_saved_by_the_browser_works_again(open_page: Callable) -> None:
    opened = open_page(document(countries().fragment()))
    again = open_page(opened.content())
    assert again.locator(".ecco-live").count() == 1
    again.locator(OPTION).nth(3).hover()
    assert "output 3," in str(again.locator(SELECTED).get_attribute("aria-label"))
