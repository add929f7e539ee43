"""The token strip's browser side, with a model that keeps what a kernel would hear."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from view_samples import countries

from ecco_captum import widgets

OPTION, SELECTED = "[role=option]", "[aria-selected=true]"

MOUNT = """async ([source, css, state, scores]) => {
  const style = document.createElement('style');
  style.textContent = css;
  document.head.append(style);
  const bytes = Uint8Array.from(atob(scores), (c) => c.charCodeAt(0));
  state._scores = new DataView(bytes.buffer);
  const listeners = {};
  window.sent = [];
  window.model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; },
    save_changes: () => sent.push([state.selected, state.hovered]),
    on: (name, action) => { listeners[name] = action; },
    off: (name) => { delete listeners[name]; },
    fromPython: (name, value) => { state[name] = value; listeners['change:' + name]?.(); },
    listeners,
  };
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const widget = (await import(url)).default;
  const el = document.createElement('div');
  document.body.append(el);
  window.leave = await widget.render({ model, el });
}"""


@pytest.fixture
def mounted(open_page: Callable) -> Any:
    """A strip in a page, drawn by its ES module from the state that Python sends."""
    strip = widgets.TokenStrip(countries())
    state = strip.get_state()
    sent = {
        k: v for k, v in state.items() if k in ("_script", "_frame", "_data", "selected", "hovered")
    }
    opened = open_page("<!doctype html><meta charset=utf-8><body>")
    source = str(widgets.TokenStrip._esm)
    scores = base64.b64encode(state["_scores"]).decode()
    opened.evaluate(
        MOUNT, [source, str(widgets.TokenStrip._css), json.loads(json.dumps(sent)), scores]
    )
    return opened


def test_hover_paints_and_tells_python(mounted: Any) -> None:
    assert mounted.get_by_role("heading", name="Where did each token come from?").count() == 1
    mounted.locator(OPTION).nth(6).hover()
    assert "output 6," in mounted.locator(SELECTED).get_attribute("aria-label")
    assert mounted.locator(".ecco-t.ecco-s32").count() == 1
    mounted.wait_for_function("sent.length > 0")
    assert mounted.evaluate("sent.at(-1)") == [6, 6]
    mounted.mouse.move(2, 2)
    mounted.wait_for_function("sent.at(-1)[1] === -1")
    assert mounted.evaluate("sent.at(-1)") == [6, -1]


def test_python_selects_and_the_strip_follows(mounted: Any) -> None:
    mounted.evaluate("model.fromPython('selected', 2)")
    assert "output 2," in mounted.locator(SELECTED).get_attribute("aria-label")
    assert mounted.evaluate("sent") == [], "what came from Python is not sent back"


def test_a_removed_strip_lets_go(mounted: Any) -> None:
    heard = mounted.evaluate("Object.keys(model.listeners).sort()")
    assert heard == [
        *("change:_shown", "change:monospace", "change:selected"),
        "msg:custom",
    ]
    mounted.evaluate("leave()")
    assert mounted.evaluate("Object.keys(model.listeners)") == []


def test_letters_may_be_equally_wide(mounted: Any) -> None:
    font = "() => getComputedStyle(document.querySelector('.ecco-strip')).fontFamily"
    assert "mono" not in mounted.evaluate(font).lower()
    mounted.evaluate("model.fromPython('monospace', true)")
    assert "mono" in mounted.evaluate(font).lower()
