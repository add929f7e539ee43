"""Heat tables in a real browser: by pointer, by keyboard, by ear, in any theme."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from heat_samples import every_record, hostile_records, listed, rising
from page_checks import CONTRASTS, axe_finds
from page_reading import document, until
from record_samples import pairs
from view_samples import countries, sanitised

from ecco_captum.core.text import format_rank
from ecco_captum.display.colours import LEVELS, shade

CELL = ".ecco-heat td:not(.ecco-beside)"
RECORDS, HOSTILE = every_record(), hostile_records()
VIEWS = {kind: str(record.fragment()) for kind, record in RECORDS.items()}
RANKS = RECORDS["rankings"].ranks
BOXES = """() => [...document.querySelectorAll('.ecco *')].filter((n) => n.checkVisibility())
  .map((n) => { const b = n.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"""


def readout(opened: Any) -> str:
    return str(opened.locator(".ecco-cell-readout").first.inner_text())


def choose(opened: Any, group: str, name: str) -> None:
    buttons = opened.get_by_role("group", name=group)
    buttons.get_by_role("button", name=name, exact=True).click()


def colours(opened: Any) -> list[str]:
    read = "nodes => nodes.map((node) => getComputedStyle(node).backgroundColor)"
    return list(opened.locator(CELL).evaluate_all(read))


def test_the_pointer_describes_a_cell_and_the_last_one_stays(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["rankings"]))
    assert "Hover" in readout(opened)
    before = opened.evaluate(BOXES)
    for k in (0, 13, 29):
        cell = opened.locator(CELL).nth(k)
        cell.hover()
        assert readout(opened) == cell.get_attribute("title")
        assert opened.locator(".ecco-hovered").count() == 1
        assert "ecco-hovered" in str(cell.get_attribute("class"))
        assert opened.evaluate(BOXES) == before, "nothing moves"
    last = readout(opened)
    opened.mouse.move(1, 1)
    assert readout(opened) == last
    assert opened.locator("[aria-live]").inner_text() == "", "only the keyboard is read out"


def test_a_tap_is_enough(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["watch"]), has_touch=True)
    opened.locator(CELL).nth(5).tap()
    assert readout(opened) == opened.locator(CELL).nth(5).get_attribute("title")


def test_the_keyboard_has_one_stop_and_reaches_every_cell(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["watch"]))
    assert opened.locator(f"{CELL}[tabindex='0']").count() == 1
    assert opened.locator(".ecco-heat[tabindex]").count() == 0
    opened.keyboard.press("Tab")
    moves = ("ArrowUp", 0), ("End", 1), ("ArrowRight", 1), ("ArrowDown", 3), ("Home", 2)
    for key, k in (*moves, ("ArrowLeft", 2), *((("ArrowDown", n)) for n in (4, 6, 8, 8))):
        opened.keyboard.press(key)
        title = opened.locator(CELL).nth(k).get_attribute("title")
        assert opened.evaluate("document.activeElement.title") == title
        assert readout(opened) == title
        assert opened.locator("[aria-live]").inner_text() == title
        assert opened.locator(f"{CELL}[tabindex='0']").count() == 1


def test_a_cell_reached_by_keyboard_is_not_under_a_header(open_page: Callable) -> None:
    opened = open_page(document(listed(40, 20).fragment()), width=360)
    opened.locator(CELL).first.focus()
    for key in ("End", "ArrowLeft", "ArrowLeft", *["ArrowLeft"] * 20, *["ArrowDown"] * 19):
        opened.keyboard.press(key)
        on_top = """() => { const cell = document.activeElement, b = cell.getBoundingClientRect();
          return document.elementFromPoint(b.x + 4, b.y + b.height / 2) === cell; }"""
        assert opened.evaluate(on_top), key


def test_what_cells_say_can_be_chosen(open_page: Callable) -> None:
    opened, ranks = open_page(document(VIEWS["many layers"])), RECORDS["many layers"].ranks
    tokens = opened.locator(CELL).all_text_contents()
    choose(opened, "Cells", "rank")
    shown = [format_rank(int(r)) for part in (ranks[:, :60], ranks[:, 60:]) for r in part.ravel()]
    assert opened.locator(CELL).all_text_contents() == shown
    choose(opened, "Cells", "probability")
    assert opened.locator(CELL).first.text_content().endswith("%")
    choose(opened, "Cells", "top token")
    assert opened.locator(CELL).all_text_contents() == tokens


@pytest.mark.parametrize("value", ["logit", "prob"])
def test_what_colours_mean_can_be_chosen(open_page: Callable, value: str) -> None:
    name = {"logit": "logit", "prob": "probability"}[value]
    asked = open_page(document(listed(6, 5, value=value).fragment()))
    opened = open_page(document(VIEWS["rankings"]))
    first = colours(opened)
    choose(opened, "Colour", name)
    assert colours(opened) == colours(asked)
    assert colours(opened) != first
    legends = [page.locator(".ecco-legend").inner_text() for page in (asked, opened)]
    assert legends[0] == legends[1]
    assert f"{name} of the token in the text" in legends[0]
    choose(opened, "Colour", "rank")
    assert colours(opened) == first
    weights = "nodes => nodes.map((node) => getComputedStyle(node).fontWeight)"
    bold = opened.locator(CELL).evaluate_all(weights)
    assert [w == "700" for w in bold] == [r == 1 for r in RANKS.ravel()]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shades_are_those_of_the_ramp(open_page: Callable, theme: str) -> None:
    opened = open_page(document(VIEWS["rankings"]), color_scheme=theme)
    strongest = shade(LEVELS)[theme == "dark"]
    red, green, blue = (int(strongest[i : i + 2], 16) for i in (1, 3, 5))
    last = [k for k, rank in enumerate(RANKS.ravel()) if rank == 1]
    assert {colours(opened)[k] for k in last} == {f"rgb({red}, {green}, {blue})"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", VIEWS)
def test_every_text_can_be_read(open_page: Callable, theme: str, kind: str) -> None:
    opened = open_page(document(VIEWS[kind]), color_scheme=theme)
    for summary in opened.locator("summary").all():
        summary.click()
    opened.locator(CELL).first.hover()
    ratios = opened.evaluate(CONTRASTS)
    assert len(ratios) > 20
    assert min(ratios)[0] >= 4.5, min(ratios)


@pytest.mark.parametrize("kind", VIEWS)
def test_axe_finds_nothing(open_page: Callable, kind: str) -> None:
    opened = open_page(document(VIEWS[kind]), width=500, bypass_csp=True)
    for summary in opened.locator("summary").all():
        summary.click()
    assert axe_finds(opened) == []


def test_axe_finds_nothing_without_scripts_of_the_view(open_page: Callable) -> None:
    views = [view.replace('type="module"', 'type="text/plain"') for view in VIEWS.values()]
    opened = open_page(document("".join(views)), width=500, bypass_csp=True)
    assert opened.locator("button").count() == 0
    assert axe_finds(opened) == []


@pytest.mark.parametrize("scripts", [False, True])
@pytest.mark.parametrize("width", [360, 900])
def test_narrow_screens_do_not_scroll_sideways(
    open_page: Callable, width: int, scripts: bool
) -> None:
    opened = open_page(document("".join(VIEWS.values())), width=width, java_script_enabled=scripts)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 900])
def test_headers_stay_in_view(open_page: Callable, width: int) -> None:
    opened = open_page(document(pairs(rising(40)).fragment()), width=width)
    pane, at = opened.locator(".ecco-heat").first, "n => n.getBoundingClientRect().toJSON()"
    column, row = pane.locator("thead th").nth(3), pane.locator("tbody th").nth(30)
    top, left = column.evaluate(at)["top"], row.evaluate(at)["left"]
    pane.evaluate("n => n.scrollTo(60, 300)")
    assert pane.evaluate("n => n.scrollTop") == 300
    assert column.evaluate(at)["top"] == top
    assert row.evaluate(at)["left"] == left


def test_turned_headers_are_whole_or_have_a_title(open_page: Callable) -> None:
    opened = open_page(document(HOSTILE["rankings"].fragment()))
    for head in opened.locator("thead th[title]").all()[:25]:
        fits = head.evaluate("n => n.scrollHeight <= n.clientHeight + 1")
        assert fits or head.get_attribute("title")
        assert head.bounding_box()["height"] <= 190


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "order"])
def test_hostile_texts_do_not_run(open_page: Callable, kind: str) -> None:
    opened = open_page(document(HOSTILE[kind].fragment()))
    cell = opened.locator(CELL).nth(3)
    cell.hover()
    assert readout(opened) == " ".join(str(cell.get_attribute("title")).split())
    assert opened.title() == "Test"


def test_views_share_a_page_even_with_themselves(open_page: Callable) -> None:
    saliency = countries().fragment()
    views = [*VIEWS.values(), VIEWS["rankings"], saliency]
    opened = open_page(document("".join(views)), width=900)
    maps = opened.locator(".ecco-heat-map")
    assert maps.count() == len(VIEWS) + 1
    assert opened.locator(".ecco-cell-readout").count() == len(VIEWS) + 1
    for k in range(maps.count()):
        cell = maps.nth(k).locator(CELL.removeprefix(".ecco-heat ")).first
        cell.hover()
        assert maps.nth(k).locator(".ecco-cell-readout").inner_text() == cell.get_attribute("title")
    alone = open_page(document(saliency), width=900)
    read = "nodes => nodes.map((n) => getComputedStyle(n).backgroundColor)"

    def shades() -> list[list[str]]:
        return [page.locator(".ecco-t").evaluate_all(read) for page in (opened, alone)]

    # Out of sight, shades come when the pointer rests; and all of them fade in.
    until(opened, lambda: shades()[0] == shades()[1] and len(set(shades()[0])) > 3)
    sizes = "n => [...n.querySelectorAll('*')].map((c) => [c.offsetWidth, c.offsetHeight])"
    of_view = [page.locator(".ecco").last.evaluate(sizes) for page in (opened, alone)]
    assert of_view[0] == of_view[1], "style sheets of other views change nothing"


@pytest.mark.parametrize("kind", VIEWS)
def test_an_untrusted_notebook_shows_the_table(open_page: Callable, kind: str) -> None:
    opened = open_page(f"<meta charset=utf-8>{sanitised(VIEWS[kind])}", width=500)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 500
    assert opened.get_by_text(RECORDS[kind].sentence).is_visible()
    shaded = [c for c in opened.locator("td").evaluate_all(
        "nodes => nodes.map((n) => getComputedStyle(n).backgroundColor)"
    ) if c.startswith("rgba(") and not c.endswith(", 0)")]  # fmt: skip
    assert len(shaded) > 4


def test_printing_shows_whole_tables_with_their_shades(open_page: Callable) -> None:
    opened = open_page(document(VIEWS["rankings"]))
    before = colours(opened)
    opened.emulate_media(media="print")
    assert colours(opened)[-1] == before[-1]
    assert not opened.locator(".ecco-cell-readout").is_visible()
    assert not opened.locator(".ecco-choices").is_visible()
    adjust = "n => [getComputedStyle(n).printColorAdjust, getComputedStyle(n).maxHeight]"
    assert opened.locator(".ecco-heat").first.evaluate(adjust) == ["exact", "none"]


def test_many_outputs_load_quickly(open_page: Callable) -> None:
    view = str(listed(500, 31).fragment())
    assert len(view) < 4e6

    def opened_quickly() -> bool:
        start = time.monotonic()
        open_page(document(view)).locator(".ecco-cell-readout").wait_for()
        return time.monotonic() - start < 4  # below 1 s on an idle machine

    assert any(opened_quickly() for _ in range(3)), "other work can slow one of them down"
    opened = open_page(document(view))
    opened.get_by_text("outputs 120–179").click()
    assert opened.locator(CELL).nth(3 * 60 * 31 - 1).is_visible()


def test_a_wide_table_fades_where_it_goes_on(open_page: Callable) -> None:
    opened = open_page(document(listed(40, 4).fragment()), width=600)
    pane = opened.locator(".ecco-heat").first

    def fades() -> bool:
        return "ecco-more-right" in str(pane.get_attribute("class"))

    until(opened, fades)
    pane.evaluate("pane => { pane.scrollLeft = pane.scrollWidth; }")
    until(opened, lambda: not fades())
