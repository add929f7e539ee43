"""Every front end's light and dark theme, on a system of the other kind: all can be read.

JupyterLab and marimo were run to see which marks they set; VS Code and Colab cannot run here, so
their documented marks and variables stand in a page of the test's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from view_samples import countries

from ecco_captum.display.colours import COLORS, contrast, theme_css
from ecco_captum.widgets.explorer import SHEET, Still

# Of VS Code's default themes, Light and Dark Modern.
VSCODE = {
    "light": {
        "editor-background": "#ffffff",
        "foreground": "#3b3b3b",
        "input-background": "#ffffff",
        "input-foreground": "#3b3b3b",
        "input-border": "#cecece",
        "focusBorder": "#005fb8",
    },
    "dark": {
        "editor-background": "#1f1f1f",
        "foreground": "#cccccc",
        "input-background": "#313131",
        "input-foreground": "#cccccc",
        "input-border": "#3c3c3c",
        "focusBorder": "#0078d4",
    },
}
# Front end, theme: attributes of <html> and <body>, and the ground of its notebook.
HOSTS = {
    ("JupyterLab", "light"): ("", 'data-jp-theme-light="true"', "#ffffff"),
    ("JupyterLab", "dark"): ("", 'data-jp-theme-light="false"', "#111111"),
    ("VS Code", "light"): ("", 'class="vscode-light"', "#ffffff"),
    ("VS Code", "dark"): ("", 'class="vscode-dark"', "#1f1f1f"),
    ("VS Code, high contrast", "light"): (
        "",
        'class="vscode-high-contrast vscode-high-contrast-light"',
        "#ffffff",
    ),
    ("VS Code, high contrast", "dark"): ("", 'class="vscode-high-contrast"', "#000000"),
    ("Colab", "light"): ('theme="light"', "", "#ffffff"),
    ("Colab", "dark"): ('theme="dark"', "", "#383838"),
    ("Sphinx", "light"): ('data-theme="light"', "", "#ffffff"),
    ("Sphinx", "dark"): ('data-theme="dark"', "", "#131416"),
    ("marimo", "light"): ("", 'data-theme="light" class="light light-theme"', "#ffffff"),
    ("marimo", "dark"): ("", 'data-theme="dark" class="dark dark-theme"', "#181c1a"),
}
CONTROLS = """
<div class="ecco-explorer"><span class="widget-label">Method</span>
<input class="box" style="color:var(--jp-widgets-input-color);
background:var(--jp-widgets-input-background-color)" value="gradient">
<span class="ecco-message">About 3 min</span><span class="ecco-message ecco-error">It fails</span>
<div class="ecco-panel"><span class="ecco-keys">by chance</span></div></div>"""
READ = """([root, where]) => {
  const paint = (color) => {
    const context = document.createElement('canvas').getContext('2d');
    context.fillStyle = color; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const hex = (rgba) => '#' + rgba.slice(0, 3).map((c) => c.toString(16).padStart(2, '0')).join('');
  const top = root ? document.querySelector(root).shadowRoot : document;
  return where.map((name) => {
    const node = top.querySelector(name);
    let ground = node, color = [0, 0, 0, 0];
    while (ground && color[3] < 255) {
      color = paint(getComputedStyle(ground).backgroundColor);
      ground = ground.parentElement ?? ground.getRootNode().host;
    }
    return [hex(paint(getComputedStyle(node).color)), hex(color)];
  });
}"""
STATIC = [".ecco h2", ".ecco-sub", ".ecco-note", ".ecco-t", ".ecco-of"]
OWN = [".widget-label", ".box", ".ecco-message", ".ecco-error", ".ecco-keys"]


def host(key: tuple[str, str], body: str) -> str:
    html, marks, ground = HOSTS[key]
    variables = "".join(f"--vscode-{n}:{v};" for n, v in VSCODE[key[1]].items())
    style = f"html{{{variables if 'VS Code' in key[0] else ''}}}body{{background:{ground}}}"
    sheet = f"<style>{style}</style><style>{theme_css('.ecco-explorer')}{SHEET}</style>"
    return f"<!doctype html><html {html}><meta charset=utf-8>{sheet}<body {marks}>{body}"


@pytest.mark.parametrize("key", HOSTS, ids=" ".join)
def test_a_theme_outweighs_the_systems(open_page: Callable, key: tuple[str, str]) -> None:
    other = {"light": "dark", "dark": "light"}[key[1]]
    body = countries().fragment() + CONTROLS
    page = open_page(host(key, body), color_scheme=other)
    page.locator("[role=option]").first.wait_for()
    read = page.evaluate(READ, [None, STATIC + OWN])
    for name, (ink, ground) in zip(STATIC + OWN, read, strict=True):
        assert contrast(ink, ground) >= 4.5, (name, ink, ground)
    assert read[0][0] == COLORS["ink"][key[1] == "dark"]
    assert read[OWN.index(".ecco-error") + len(STATIC)][0] == COLORS["error"][key[1] == "dark"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_widget_in_a_shadow_tree_sees_its_hosts_theme(open_page: Callable, theme: str) -> None:
    other = {"light": "dark", "dark": "light"}[theme]
    page = open_page(host(("marimo", theme), "<div id=shadow></div>"), color_scheme=other)
    page.evaluate(
        """(html) => {
          document.getElementById('shadow').attachShadow({ mode: 'open' }).innerHTML = html;
        }""",
        countries().fragment(),
    )
    static = [".ecco h2", ".ecco-sub", ".ecco-note"]
    for ink, ground in page.evaluate(READ, ["#shadow", static]):
        assert contrast(ink, ground) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_still_view_follows_the_page_around_it(open_page: Callable, theme: str) -> None:
    other = {"light": "dark", "dark": "light"}[theme]
    mime, html = Still(countries().fragment(), "Where from?")._mime_()
    assert mime == "text/html"
    page = open_page(host(("marimo", theme), html), color_scheme=other)
    frame: Any = page.frame_locator("iframe.ecco-still")
    frame.locator("[role=option]").nth(3).hover()
    assert "cannot draw" in frame.locator(".ecco-why").inner_text()
    color = frame.locator(".ecco h2").evaluate("(node) => getComputedStyle(node).color")
    dark = COLORS["ink"][theme == "dark"]
    assert color == f"rgb({int(dark[1:3], 16)}, {int(dark[3:5], 16)}, {int(dark[5:], 16)})"
