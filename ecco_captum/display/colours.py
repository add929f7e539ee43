"""Colours: two hues on calm neutrals, and an ink that can be read on every shade.

One accent hue says how much; a second, cool hue is for negative values only. Purple and teal are
distinct with red-green and with blue-yellow colour blindness too, which purple and blue are not.
Every colour is a pair (light theme, dark theme), so that the style sheet switches by
``color-scheme`` alone and no script has to know the theme.
"""

from __future__ import annotations

from typing import Literal

Hue = Literal["accent", "cool"]
RGB = tuple[int, int, int]

LEVELS = 32
"""Steps of a ramp: level 0 is the card itself, level ``LEVELS`` the largest magnitude."""

MINIMUM_CONTRAST = 4.5
"""WCAG 2 AA for text of normal size."""

COLORS: dict[str, tuple[str, str]] = {
    "bg": ("#ffffff", "#16151b"),
    "card": ("#fbfafc", "#1c1b23"),
    "line": ("#e6e4ec", "#2f2d39"),
    "ink": ("#1c1b22", "#eceaf2"),
    "soft": ("#6b6876", "#a6a2b4"),
    "mark": ("#565361", "#b4b0c1"),
    "accent": ("#6d3fc4", "#b79bf5"),
    "cool": ("#0f766e", "#2dbeaa"),
    "error": ("#b3261e", "#ff9e94"),
}
"""Name of a colour: its light and its dark value."""

_TOPS: dict[Hue, tuple[str, str]] = {
    "accent": ("#6d3fc4", "#a283ee"),
    "cool": ("#0f766e", "#2bb3a1"),
}
# On a dark page the accent at full strength would glare: there a ramp ends a little below it.

_PREFIX: dict[Hue, str] = {"accent": "ecco-s", "cool": "ecco-c"}


def _rgb(color: str) -> RGB:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours ``#rrggbb``, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((_luminance(_rgb(first)), _luminance(_rgb(second))))
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: RGB) -> float:
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def shade(level: int, hue: Hue = "accent") -> tuple[str, str]:
    """A step of a ramp, 0 (the card) to ``LEVELS``, in the light and in the dark theme."""
    if not 0 <= level <= LEVELS:
        raise ValueError(f"level: got {level}, accepts 0 to {LEVELS}")
    light, dark = (
        _mix(_rgb(card), _rgb(top), level / LEVELS)
        for card, top in zip(COLORS["card"], _TOPS[hue], strict=True)
    )
    return light, dark


def _mix(start: RGB, end: RGB, part: float) -> str:
    mixed = [round(a + (b - a) * part) for a, b in zip(start, end, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def ink(background: str, usual: str) -> str:
    """Ink that can be read on a shade, with a contrast of at least ``MINIMUM_CONTRAST``.

    The theme's usual ink, an off-black or an off-white, stays as long as it can. Where it falls
    below 4.5:1, white or black takes over: one of the two always reaches it.
    """
    for candidate in (usual, "#ffffff"):
        if contrast(background, candidate) >= MINIMUM_CONTRAST:
            return candidate
    return "#000000"


_LIGHT = (
    'body[data-jp-theme-light="true"]',  # JupyterLab, Notebook 7
    "body.vscode-light",  # VS Code; a high-contrast light theme has a name of its own
    "body.vscode-high-contrast-light",
    'html[theme="light"]',  # Colab
    'html[data-theme="light"]',  # Sphinx
    'body[data-theme="light"]',  # marimo
)
_DARK = (
    'body[data-jp-theme-light="false"]',
    "body.vscode-dark",
    "body.vscode-high-contrast:not(.vscode-high-contrast-light)",
    'html[theme="dark"]',
    'html[data-theme="dark"]',
    'body[data-theme="dark"]',
)


def theme_css(within: str = ".ecco,.ecco-page") -> str:
    """The colours as CSS variables, each with its light and its dark value.

    They follow the notebook or page around the view, by the marks that its front end sets, and
    where there are none the system.
    """
    pairs = {**COLORS, **{f"top-{hue}": pair for hue, pair in _TOPS.items()}}
    lines = "".join(f"--ecco-{name}:{_pair(pair)};" for name, pair in pairs.items())
    rules = [f"{within}{{color-scheme:light dark;{lines}}}"]
    views = f":is({within})"
    for scheme, hosts in (("light", _LIGHT), ("dark", _DARK)):
        host = f":is({','.join(hosts)})"
        rules.append(f"{host} {views}{{color-scheme:{scheme}}}")
        # A view in a shadow tree, as marimo draws widgets, sees its host by this alone; a browser
        # that does not know it drops the rule, which therefore stands apart.
        rules.append(f":host-context({host}) {views}{{color-scheme:{scheme}}}")
    return "\n".join(rules) + "\n"


def ramp_css(hue: Hue = "accent", *, within: str = "") -> str:
    """A class for each level of a ramp: its shade, and the ink that can be read on it.

    Marks (``.ecco-m``) keep their softer ink up to the level where it could no longer be read.
    ``within`` selects a part of a view whose elements carry a background of their own, for where
    style sheets are gone; there, the ramp replaces it.
    """
    place, force = (f".ecco {within}", "!important") if within else (".ecco", "")
    rules, too_deep = [], []
    for level in range(1, LEVELS + 1):
        pair = shade(level, hue)
        inks = tuple(ink(back, usual) for back, usual in zip(pair, COLORS["ink"], strict=True))
        style = f"background-color:{_pair(pair)}{force};color:{_pair(inks)}"
        rules.append(f"{place} .{_PREFIX[hue]}{level}{{{style}}}")
        if min(map(contrast, pair, COLORS["mark"])) < MINIMUM_CONTRAST:
            too_deep.append(f".{_PREFIX[hue]}{level}")
    rules.append(f"{place} :is({','.join(too_deep)}) .ecco-m{{color:inherit}}")
    return "\n".join(rules) + "\n"


def _pair(pair: tuple[str, ...]) -> str:
    return pair[0] if pair[0] == pair[1] else f"light-dark({pair[0]},{pair[1]})"
