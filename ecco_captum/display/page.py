"""Static, escaped HTML: strings in, strings out.

A view is a *frame* (the reader's question, what is drawn, the picture, the sentence that says
whether it holds). A frame is complete in itself, so a notebook can hold many; `page` makes one or
several into a document that needs no network.

Everything that matters must survive an untrusted notebook, which strips scripts, style sheets, SVG,
``data-*`` attributes and ``tabindex``, but keeps ``class``, ``title``, ``<details>`` and ``style``.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files

from ecco_captum.core.text import visible, visible_parts
from ecco_captum.display.colours import theme_css

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_SECTION = "ecco mathjax_ignore tex2jax_ignore"  # a "$x$" of a token is not a formula
_LONGEST = 40
_CELL = "padding:3px 8px;text-align:{};vertical-align:top;font-weight:{}"


def escape(text: str) -> str:
    r"""
    Escape a text for use between tags or inside a quoted attribute.

    Args:
        text (str): Any text.

    Returns:
        str: HTML that shows the text. Characters that HTML or UTF-8 cannot carry (controls,
        surrogates without a partner) are shown as U+FFFD.
    """
    return html.escape("".join(map(_carried, text)), quote=True)


def _carried(character: str) -> str:
    code = ord(character)
    control = (code < 32 and character not in "\t\n") or 127 <= code < 160
    return "\ufffd" if control or 0xD800 <= code < 0xE000 else character


def token(text: str) -> str:
    r"""
    Show the text of a token on one line, apart from the direction of the writing around it.

    Args:
        text (str): The text of a token.

    Returns:
        str: HTML. A text too long for a table is cut, with the whole of it as a tooltip.
    """
    shown = visible(text)
    if len(shown) <= _LONGEST:
        return f"<bdi>{escape(shown)}</bdi>"
    return f'<bdi title="{escape(shown)}">{escape(shown[:_LONGEST])}…</bdi>'


def asset(name: str) -> str:
    r"""
    Read a style sheet or script that is shipped with the package.

    Args:
        name (str): Path inside the package, such as ``"display/page.css"``.

    Returns:
        str: Its text.
    """
    return (files("ecco_captum") / name).read_text(encoding="utf-8")


def embed_json(data: object) -> str:
    r"""
    Write data so that a script of the page can read it, whatever texts are inside.

    Args:
        data: What `json.dumps` accepts.

    Returns:
        str: An inert ``<script type="application/json">``; pure ASCII, without a ``<`` inside.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f'<script type="application/json">{text.replace("<", chr(92) + "u003c")}</script>'


def legend(label: str, low: str, high: str) -> str:
    r"""
    The ramp of the accent hue with its real ends.

    Args:
        label (str): What is shown by shade, such as ``"share of the score"``.
        low (str): The value of the faintest shade, with its unit.
        high (str): The value of the strongest shade, with its unit.

    Returns:
        str: HTML.
    """
    return (
        f'<div class="ecco-legend"><span>{escape(label)}</span><span>{escape(low)}</span>'
        f'<span class="ecco-ramp"></span><span>{escape(high)}</span></div>'
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int]) -> str:
    r"""
    A plain table; its layout is inline, so that it can be read without the style sheet.

    Args:
        header (sequence of str): Texts of the header cells; they are escaped here.
        rows (sequence of sequences of str): HTML of the cells; the first one names the row.
        numeric (sequence of int): Columns that hold numbers: right-aligned, tabular digits.

    Returns:
        str: HTML.
    """
    aligned = ["right" if column in numeric else "left" for column in range(len(header))]
    head = "".join(
        f'<th scope="col" style="{_CELL.format(side, 600)}">{escape(text)}</th>'
        for text, side in zip(header, aligned, strict=True)
    )
    body = "".join(f"<tr>{_cells(row, aligned)}</tr>" for row in rows)
    return (
        '<table class="ecco-table" style="border-collapse:collapse;margin:0;'
        f'font-variant-numeric:tabular-nums"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _cells(row: Sequence[str], aligned: Sequence[str]) -> str:
    first, *others = (
        (cell, _CELL.format(side, 400)) for cell, side in zip(row, aligned, strict=True)
    )
    return f'<th scope="row" style="{first[1]}">{first[0]}</th>' + "".join(
        f'<td style="{style}">{cell}</td>' for cell, style in others
    )


def frame(body: str, *, title: str, subtitle: str = "", note: str = "", key: str = "") -> str:
    r"""
    One view: the reader's question, what is drawn, the picture, and whether it holds.

    Args:
        body (str): HTML of the picture.
        title (str): The question that the view answers.
        subtitle (str, optional): What is drawn: model, method, unit. Default: ``""``
        note (str, optional): The sentence that says whether it holds. Default: ``""``
        key (str, optional): Name by which a script finds this view. Default: ``""``

    Returns:
        str: HTML; everything but ``body`` is escaped.
    """
    return "".join(
        (
            f'<section class="{_SECTION}" data-view="{escape(key)}"><h2>{_sentence(title)}</h2>',
            f'<p class="ecco-sub">{_sentence(subtitle)}</p>' if subtitle else "",
            body,
            f'<p class="ecco-note">{_sentence(note)}</p>' if note else "",
            "</section>",
        )
    )


def view_key(*parts: str) -> str:
    r"""
    A name by which a script finds its view; the same content has the same name.

    Args:
        parts (str): What the view shows.

    Returns:
        str: 16 hexadecimal digits.
    """
    return hashlib.sha256("".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _sentence(text: str) -> str:
    return escape("".join(visible_parts(text)))


def without_scripts(html: str) -> str:
    r"""
    Leave scripts, and the data that only they read, out of views.

    Args:
        html (str): What this package made; no script of it holds its own end.

    Returns:
        str: HTML.
    """
    return re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)


def style(*sheets: str) -> str:
    r"""
    Put style sheets into a view.

    Args:
        sheets (str): CSS.

    Returns:
        str: HTML.
    """
    return "<style>\n" + "".join(sheets) + "</style>"


def page(body: str, *, title: str) -> str:
    r"""
    A whole document around one or several views; it loads nothing from anywhere.

    Args:
        body (str): HTML of the views.
        title (str): Title of the document; it is escaped.

    Returns:
        str: The document. Write it as UTF-8.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{style(theme_css(), asset('display/page.css'))}</head>\n"
        f'<body class="ecco-page"><main><h1 class="ecco-hidden">{_sentence(title)}</h1>\n'
        f"{body}\n</main></body></html>\n"
    )
