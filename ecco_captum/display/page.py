"""Static, escaped HTML: templates with autoescape, and what every view is made of.

A view is a *frame* (the reader's question, what is drawn, the picture, the sentence that says
whether it holds). A frame is complete in itself, so a notebook can hold many; `page` makes one or
several into a document that needs no network.

Everything that matters must survive an untrusted notebook, which strips scripts, style sheets, SVG,
``data-*`` attributes and ``tabindex``, but keeps ``class``, ``title``, ``<details>`` and ``style``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import markupsafe
from markupsafe import Markup

from ecco_captum.core.text import visible, visible_parts
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.colours import ramp_css, theme_css

_LONGEST = 40  # letters of a token in a table


def escape(text: str) -> Markup:
    """Escapes a text for use between tags or inside a quoted attribute.

    Characters that HTML or UTF-8 cannot carry (controls, surrogates without a partner) are shown as
    U+FFFD.
    """
    return markupsafe.escape(_carried(text))


def _carried(value: Any) -> Any:
    """A value of a template; of a text, what HTML can carry of it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(map(_carried_character, value))


def _carried_character(character: str) -> str:
    code = ord(character)
    control = (code < 32 and character not in "\t\n") or 127 <= code < 160
    return "\ufffd" if control or 0xD800 <= code < 0xE000 else character


def one_line(text: str) -> str:
    """A text as a sentence shows it: line breaks and other characters nobody sees are marked."""
    return "".join(visible_parts(text))


def token(text: str) -> Markup:
    """A token on one line, apart from the direction of the writing around it; a long one is cut."""
    shown = visible(text)
    if len(shown) <= _LONGEST:
        return Markup(f"<bdi>{escape(shown)}</bdi>")
    return Markup(f'<bdi title="{escape(shown)}">{escape(shown[:_LONGEST])}…</bdi>')


@cache
def asset(name: str) -> Markup:
    """The text of a style sheet or script of the package, such as ``"display/page.css"``."""
    return Markup((files("ecco_captum") / name).read_text(encoding="utf-8"))


def embed_json(data: object) -> Markup:
    """Data in an inert ``<script type="application/json">``: pure ASCII, without a ``<`` inside."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(
        f'<script type="application/json">{text.replace("<", chr(92) + "u003c")}</script>'
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ecco_captum", ""),
        autoescape=True,
        finalize=_carried,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(one_line=one_line, token=token, visible=visible)
    environment.globals.update(
        asset=asset, embed_json=embed_json, ramp_css=_css(ramp_css), theme_css=_css(theme_css)
    )
    return environment


def _css(make: Any) -> Any:
    return lambda *given, **named: Markup(make(*given, **named))


def render(template: str, **values: Any) -> Markup:
    """Fills a template, such as ``"report/report.html.j2"``; every text is escaped."""
    return Markup(_environment().get_template(template).render(**values))


def part(name: str, *given: Any, **named: Any) -> Markup:
    """One of the parts that views share, a macro of ``parts.html.j2``."""
    module: Any = _environment().get_template("display/parts.html.j2").module
    return Markup(getattr(module, name)(*given, **named))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int]
) -> Markup:
    """A plain table; its layout is inline, so that it can be read without the style sheet.

    The first cell of a row names it; ``numeric`` columns are right-aligned, with tabular digits.
    """
    return part("table", header, rows, numeric)


def frame(body: str, *, title: str, subtitle: str = "", note: str = "", key: str = "") -> Markup:
    """One view: the reader's question, what is drawn, the picture, and whether it holds.

    ``body`` is trusted HTML; everything else is escaped. A script finds the view by its ``key``.
    """
    return part("frame", Markup(body), title, subtitle, note, key)


def view_key(*contents: str) -> str:
    """A name, 16 hexadecimal digits, by which a script finds its view; equal for equal content."""
    return hashlib.sha256("".join(contents).encode("utf-8", "replace")).hexdigest()[:16]


def without_scripts(html: str) -> str:
    """Leaves scripts, and the data that only they read, out of HTML that this package made."""
    return re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)


def page(body: str, *, title: str, again: int = 0) -> str:
    """A whole document around one or several views; it loads nothing from anywhere.

    One that is still being made loads itself again after so many seconds.
    """
    return str(render("display/page.html.j2", body=Markup(body), title=title, again=again))


_OPEN_ROWS = 40  # rows of the plain table before the others are folded away


def token_text_css(*, signed: bool) -> Markup:
    """The style sheet of a text with shaded tokens; negative scores need the second hue."""
    cool = ramp_css("cool") if signed else ""
    sheets = map(asset, ("display/frame.css", "display/token_text.css"))
    # One by one: what is no markup would be escaped in a sum, its quotes included.
    return Markup("").join(map(Markup, (theme_css(), *sheets, ramp_css(), cool)))


def folded_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int], many: str
) -> Markup:
    """A plain table that stands in for a view without scripts; most of a long one is folded away.

    ``many`` is what the rows are called, such as ``"generated tokens"``.
    """
    shown = table(header, rows[:_OPEN_ROWS], numeric=numeric)
    if len(rows) > _OPEN_ROWS:
        rest = table(header, rows[_OPEN_ROWS:], numeric=numeric)
        shown += part("folded", f"{len(rows) - _OPEN_ROWS} more {many}", rest)
    return Markup('<div class="ecco-plain" style="overflow-x:auto">{}</div>').format(shown)


def token_name(tokens: Tokens, position: int) -> Markup:
    """A token on one line; one that only continues a character leads with "⋯"."""
    start = position
    while start > 0 and not tokens.texts[start]:
        start -= 1
    if not tokens.texts[start]:
        return Markup("⋯")
    return Markup("⋯" if start < position else "") + token(tokens.texts[start])
