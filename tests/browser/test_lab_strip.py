"""The token strip and the explorers in notebooks of every kind: quick, and never blank."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import view_samples
from lab import Lab, Notebook

SUPPORT = str(Path(view_samples.__file__).parent)
STRIP = f"""
import sys; sys.path.insert(0, {SUPPORT!r})
import numpy as np
from view_samples import attribution
from ecco_captum.widgets import TokenStrip

def strip(prompt, outputs):
    texts = [f" word{{k}}" if k % 9 else "\\n" for k in range(prompt + outputs)]
    scores = np.random.default_rng(0).random((outputs, prompt + outputs))
    return TokenStrip(attribution(texts, prompt, np.tril(scores, prompt - 1)))
"""
# From the event to the frame after it: what the reader sees.
HOVER = """async (span) => {
  performance.mark('hover');
  span.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, pointerType: 'mouse' }));
  const painted = span.getAttribute('aria-selected') === 'true';
  performance.mark('painted');
  await new Promise(requestAnimationFrame);
  const { duration } = performance.measure('colour', 'hover', 'painted');
  return [painted, duration];
}"""
MOST_MS = 50
DRAWN = """async (selector) => {
  const cell = window.jupyterapp.shell.currentWidget.content.activeCell.node;
  await window.jupyterapp.commands.execute('notebook:clear-cell-output');
  const start = performance.now();
  window.jupyterapp.commands.execute('notebook:run-cell');
  while (!cell.querySelector(selector)) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


@pytest.mark.parametrize(("prompt", "outputs"), [(100, 500), (1500, 500)])
def test_a_hover_colours_within_fifty_milliseconds(
    lab: Lab, browser: Any, prompt: int, outputs: int
) -> None:
    lab.write("long", STRIP, f"widget = strip({prompt}, {outputs})\nwidget")
    page = browser.new_page()
    notebook = Notebook(page, lab, "long")
    notebook.run()
    spans = page.locator("[role=option]")
    spans.first.wait_for(timeout=60_000)
    assert spans.count() == outputs

    def median() -> float:
        times = []
        for k in range(outputs - 1, 0, -outputs // 12):
            painted, milliseconds = spans.nth(k).evaluate(HOVER)
            assert painted
            times.append(milliseconds)
        return statistics.median(times)

    assert any(median() < MOST_MS for _ in range(3)), "other work can slow one of them down"
    last = range(outputs - 1, 0, -outputs // 12)[-1]
    notebook.until("widget.selected", str(last))
    assert not notebook.complaints
    page.close()


def test_the_strip_lives_in_notebook_seven(lab: Lab, browser: Any) -> None:
    from playwright.sync_api import expect

    lab.write("seven", STRIP, "widget = strip(20, 9)\nwidget")
    page = browser.new_page()
    notebook = Notebook(page, lab, "seven", classic=True)
    notebook.run()
    spans = page.locator("[role=option]")
    expect(spans).to_have_count(9)
    spans.nth(7).hover()
    expect(spans.nth(7)).to_have_attribute("aria-selected", "true")
    notebook.until("widget.selected, widget.hovered", "(7, 7)")
    expect(page.locator(".ecco-t.ecco-s32").first).to_be_visible()
    notebook.ask("setattr(widget, 'selected', 3)")
    expect(spans.nth(3)).to_have_attribute("aria-selected", "true")
    assert not notebook.complaints
    page.close()


EXPLORERS = f"""
import sys; sys.path.insert(0, {SUPPORT!r})
import ecco_captum as ec
from method_samples import subject
lm, generation = subject("causal:gpt2")
records = [
    ec.saliency(lm, generation, progress=False), ec.rankings(lm, generation),
    ec.nmf(ec.neurons(lm, "a text of some words"), 2, negatives="abs"),
    ec.compare(ec.hidden_states(lm, ["one text", "two texts"] * 9), measure="cka", progress=False),
]
import ecco_captum.widgets.rankings  # as any explorer before this one has done
"""
SEEN = ("[role=option]", ".bqplot .axis text", "[role=option]", ".bqplot .axis text")


def test_explorers_are_drawn_within_a_second_and_a_half(lab: Lab, browser: Any) -> None:
    cells = [f"records[{k}].explore()" for k in range(len(SEEN))]
    lab.write("quick", EXPLORERS, *cells)
    page = browser.new_page()
    notebook = Notebook(page, lab, "quick")
    execute = "(name) => window.jupyterapp.commands.execute(name).then(() => 1)"
    page.evaluate(execute, "notebook:run-cell-and-select-next")
    for selector in SEEN:
        assert any(_drawn_within(page, selector, 1500) for _ in range(3)), selector
        page.evaluate(execute, "notebook:move-cursor-down")
    assert not notebook.complaints
    page.close()


def _drawn_within(page: Any, selector: str, most: float) -> bool:
    """Other work of the machine can slow one of several tries down."""
    return float(page.evaluate(DRAWN, selector)) < most


def test_an_untrusted_notebook_shows_the_static_view(lab: Lab, browser: Any) -> None:
    from playwright.sync_api import expect

    lab.write("doubt", STRIP, "widget = strip(20, 9)\nwidget")
    context = browser.new_context()
    page = context.new_page()
    notebook = Notebook(page, lab, "doubt")
    notebook.run()
    expect(page.locator("[role=option]")).to_have_count(9)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => 1)")
    # As who is sent the file sees it: neither its trust nor its kernel is there.
    saved = lab.notebooks / "doubt.ipynb"
    text = saved.read_text(encoding="utf-8")
    assert "widget-view" in text
    sent = text.replace("widget = strip", "doubted = strip")
    (lab.notebooks / "sent.ipynb").write_text(sent, encoding="utf-8")
    other = context.new_page()
    other.goto(f"{lab.url}/lab/tree/sent.ipynb?reset")
    shown = other.locator(".jp-RenderedHTMLCommon .ecco-source").first
    expect(shown).to_be_visible(timeout=60_000)
    context.close()


def test_rows_of_a_very_long_text_come_when_they_are_chosen(lab: Lab, browser: Any) -> None:
    from playwright.sync_api import expect

    few = "import ecco_captum.widgets.view as module; module.MOST_SCORES = 100"
    lab.write("later", STRIP + few, "widget = strip(20, 9)\nwidget")
    page = browser.new_page()
    notebook = Notebook(page, lab, "later")
    notebook.run()
    spans = page.locator("[role=option]")
    expect(spans).to_have_count(9)
    assert notebook.ask("len(widget._scores)") == "0"
    spans.nth(7).hover()
    notebook.until("widget.selected", "7")
    strongest = int(notebook.ask("int(widget._attribution.scores[7].argmax())"))
    expect(page.locator(".ecco-t").nth(strongest)).to_have_class("ecco-t ecco-s32")
    expect(spans.nth(7)).to_have_attribute("aria-label", re.compile("strongest source"))
    assert spans.nth(3).get_attribute("aria-label").endswith("output 3")
    assert not notebook.complaints
    page.close()
