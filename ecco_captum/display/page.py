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
    r"""
    Escape a text for use between tags or inside a quoted attribute.

    Args:
        text (str): Any text.

    Returns:
        Markup: HTML that shows the text. Characters that HTML or UTF-8 cannot carry (controls,
        surrogates without a partner) are shown as U+FFFD.
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
    r"""
    Show the text of a token on one line, apart from the direction of the writing around it.

    Args:
        text (str): The text of a token.

    Returns:
        Markup: A text too long for a table is cut, with the whole of it as a tooltip.
    """
    shown = visible(text)
    if len(shown) <= _LONGEST:
        return Markup(f"<bdi>{escape(shown)}</bdi>")
    return Markup(f'<bdi title="{escape(shown)}">{escape(shown[:_LONGEST])}…</bdi>')


@cache
def asset(name: str) -> Markup:
    r"""
    Read a style sheet or script that is shipped with the package.

    Args:
        name (str): Path inside the package, such as ``"display/page.css"``.

    Returns:
        Markup: Its text.
    """
    return Markup((files("ecco_captum") / name).read_text(encoding="utf-8"))


def embed_json(data: object) -> Markup:
    r"""
    Write data so that a script of the page can read it, whatever texts are inside.

    Args:
        data: What `json.dumps` accepts.

    Returns:
        Markup: An inert ``<script type="application/json">``; pure ASCII, without a ``<`` inside.
    """
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
    r"""
    Fill a template.

    Args:
        template (str): Path inside the package, such as ``"report/report.html.j2"``.
        **values: What it names; every text is escaped.

    Returns:
        Markup: HTML.
    """
    return Markup(_environment().get_template(template).render(**values))


def part(name: str, *given: Any, **named: Any) -> Markup:
    """One of the parts that views share, a macro of ``parts.html.j2``."""
    module: Any = _environment().get_template("display/parts.html.j2").module
    return Markup(getattr(module, name)(*given, **named))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int]
) -> Markup:
    r"""
    A plain table; its layout is inline, so that it can be read without the style sheet.

    Args:
        header (sequence of str): Texts of the header cells.
        rows (sequence of sequences of str): Cells; the first one names the row.
        numeric (sequence of int): Columns that hold numbers: right-aligned, tabular digits.

    Returns:
        Markup: HTML.
    """
    return part("table", header, rows, numeric)


def frame(body: str, *, title: str, subtitle: str = "", note: str = "", key: str = "") -> Markup:
    r"""
    One view: the reader's question, what is drawn, the picture, and whether it holds.

    Args:
        body (str): Trusted HTML of the picture.
        title (str): The question that the view answers.
        subtitle (str, optional): What is drawn: model, method, unit. Default: ``""``
        note (str, optional): The sentence that says whether it holds. Default: ``""``
        key (str, optional): Name by which a script finds this view. Default: ``""``

    Returns:
        Markup: HTML; everything but ``body`` is escaped.
    """
    return part("frame", Markup(body), title, subtitle, note, key)


def view_key(*contents: str) -> str:
    r"""
    A name by which a script finds its view; the same content has the same name.

    Args:
        contents (str): What the view shows.

    Returns:
        str: 16 hexadecimal digits.
    """
    return hashlib.sha256("".join(contents).encode("utf-8", "replace")).hexdigest()[:16]


def without_scripts(html: str) -> str:
    r"""
    Leave scripts, and the data that only they read, out of views.

    Args:
        html (str): What this package made; no script of it holds its own end.

    Returns:
        str: HTML.
    """
    return re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)


def page(body: str, *, title: str) -> str:
    r"""
    A whole document around one or several views; it loads nothing from anywhere.

    Args:
        body (str): Trusted HTML of the views.
        title (str): Title of the document; it is escaped.

    Returns:
        str: The document. Write it as UTF-8.
    """
    return str(render("display/page.html.j2", body=Markup(body), title=title))


_OPEN_ROWS = 40  # rows of the plain table before the others are folded away


def token_text_css(*, signed: bool) -> Markup:
    r"""
    The style sheet of a text with shaded tokens.

    Args:
        signed (bool): Whether there are negative scores, which need the second hue.

    Returns:
        Markup: CSS.
    """
    cool = ramp_css("cool") if signed else ""
    sheets = asset("display/frame.css") + asset("display/token_text.css")
    return Markup(theme_css() + sheets + ramp_css() + cool)


def folded_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int], many: str
) -> Markup:
    r"""
    A plain table that stands in for a view without scripts; most of a long one is folded away.

    Args:
        header (sequence of str): Texts of the header cells.
        rows (sequence of sequences of str): Cells.
        numeric (sequence of int): Columns that hold numbers.
        many (str): What the rows are called, such as ``"generated tokens"``.

    Returns:
        Markup: HTML.
    """
    shown = table(header, rows[:_OPEN_ROWS], numeric=numeric)
    if len(rows) > _OPEN_ROWS:
        rest = table(header, rows[_OPEN_ROWS:], numeric=numeric)
        shown += part("folded", f"{len(rows) - _OPEN_ROWS} more {many}", rest)
    return Markup('<div class="ecco-plain" style="overflow-x:auto">{}</div>').format(shown)


def token_name(tokens: Tokens, position: int) -> Markup:
    r"""
    Show a token on one line; one that only continues a character leads with "⋯".

    Args:
        tokens (Tokens): Prompt and output tokens.
        position (int): Which of them.

    Returns:
        Markup: HTML.
    """
    start = position
    while start > 0 and not tokens.texts[start]:
        start -= 1
    if not tokens.texts[start]:
        return Markup("⋯")
    return Markup("⋯" if start < position else "") + token(tokens.texts[start])
