"""Checks of a page in a browser: contrasts, what axe finds, and how soon a hover is painted."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from page_reading import until

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
    const style = getComputedStyle(node), drawn = node instanceof SVGElement;
    const [a, b] = [luminance(drawn ? style.fill : style.color), luminance(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [ratio, node.getAttribute('class') ?? '', node.textContent];
  });
}"""


def axe_finds(opened: Any) -> list[tuple[str, str]]:
    axe = importlib.util.find_spec("axe_playwright_python")
    if axe is None or axe.origin is None:
        pytest.skip("needs axe-core (pip install axe-playwright-python)")
    opened.evaluate((Path(axe.origin).parent / "axe.min.js").read_text("utf-8"))
    violations = opened.evaluate("axe.run().then((result) => result.violations)")
    return [(v["id"], v["impact"]) for v in violations]


_TIMED = """() => { if (window.times) return; window.times = [];
  addEventListener('pointerover', (event) => {
    performance.mark('hover', { startTime: event.timeStamp });
    requestAnimationFrame(() => { const painted = new MessageChannel();
      painted.port1.onmessage = () => times.push(performance.measure('painted', 'hover').duration);
      painted.port2.postMessage(0); }); }, true); }"""


def hovers_smoothly(opened: Any, boxes: Sequence[dict[str, float]]) -> bool:
    """Whether a hover over half of the boxes is painted within 50 ms.

    Three tries, as other work of the machine can slow one of them down.
    """
    opened.evaluate(_TIMED)
    for _ in range(3):
        opened.evaluate("times.length = 0")
        for count, box in enumerate(boxes, start=1):
            opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            until(opened, lambda count=count: opened.evaluate("times.length") >= count)
        if statistics.median(opened.evaluate("times")) < 50:
            return True
    return False
