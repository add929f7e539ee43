"""The static view for everyone: by keyboard, by ear, in any theme."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_reading import OPTION, SELECTED, document, expected_shades, shades
from view_samples import countries

from ecco_captum.legible import format_share, visible
from ecco_captum.saliency_html import first_output, saliency_view

# Ink against what is behind it, for every text of the view: WCAG 2, computed from what is drawn.
CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map((c, i) =>
    text.startsWith('color(srgb') && i < 3 ? 255 * c : Number(c));
  const luminance = (color) => rgb(color).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor, alpha = rgb(color)[3] ?? 1;
      if (alpha === 1) return color;
    }
  };
  const texts = [...document.querySelectorAll('.ecco *')].filter((node) => node.checkVisibility() &&
    [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return texts.map((node) => {
    const [a, b] = [luminance(getComputedStyle(node).color), luminance(ground(node))].sort();
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.className, node.textContent];
  });
}"""


def test_keyboard_reaches_every_output_and_reads_it_out(open_page: Callable) -> None:
    tokens, scores = countries()
    opened = open_page(document(saliency_view(tokens, scores)))
    first = first_output(tokens, scores)

    def focused() -> str:
        return str(opened.evaluate("document.activeElement.getAttribute('aria-label')"))

    opened.keyboard.press("Tab")
    assert f"output {first}," in focused()
    for key, t in (("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", 8), ("ArrowRight", 8)):
        opened.keyboard.press(key)
        assert f"output {t}," in focused()
        assert shades(opened) == expected_shades(scores[t])
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
    tokens, scores = countries(signed=signed)
    scores[8, :19] = np.linspace(-1 if signed else 0.1, 1, 19)
    view = saliency_view(tokens, scores, subtitle="s", note="n", unit="u")
    opened = open_page(document(view), color_scheme=theme, reduced_motion="reduce")
    for t in (8, 3):
        opened.locator(OPTION).nth(t).click()
        ratios = opened.evaluate(CONTRASTS)
        assert len(ratios) > 60
        assert min(ratios)[0] >= 4.5, min(ratios)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Callable, theme: str) -> None:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-core (pip install axe-playwright-python)")
    axe = (Path(found.origin).parent / "axe.min.js").read_text("utf-8")
    view = saliency_view(*countries(signed=True), subtitle="s", note="n", unit="u")
    opened = open_page(document(view), color_scheme=theme, bypass_csp=True)
    opened.get_by_role("button", name="Show all").click()
    opened.evaluate(axe)
    violations = opened.evaluate("axe.run().then((result) => result.violations)")
    assert [(v["id"], v["impact"]) for v in violations] == []
