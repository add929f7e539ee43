"""Heat tables as static HTML: a shade and a short text for each cell, and a sentence behind it.

The table is whole without scripts and without the style sheet: each cell then has a translucent
shade of its own and says the rest in its tooltip. Scripts add to the same table: a line that tells
of the cell in hand, and choices of what the cells say and what their colours mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ecco_captum.heat_data import BLOCK, Cell, Field, Heat, Mark, Row, blocks, cut
from ecco_captum.html import asset, embed_json, escape, frame, style, view_key
from ecco_captum.legible import visible, visible_parts
from ecco_captum.shades import LEVELS, ramp_css, theme_css

# Each mark has a class too; this is what stays where style sheets are gone.
_MARKS: dict[Mark, str] = {
    "own": "font-weight:700",
    "won": "font-weight:700;text-decoration:underline",
    "true": "border:2px solid",
    "onset": "font-weight:700;border-left:3px solid",
    "crossing": "border-top:2px solid",
    "chance": "opacity:.7;font-style:italic",
}
_HUES = {True: ("ecco-s", "139,98,225"), False: ("ecco-c", "45,190,170")}
_TABLE = "border-collapse:collapse;margin:0;white-space:nowrap;font-variant-numeric:tabular-nums"
_PADDING = "padding:2px 4px"
_SMALL = "display:block;font-size:smaller"
_PAPER, _NAMES, _GAP = 660, 90, 4  # px: a printed table, its layers' names, between its cells
_WRAPPED = ";white-space:normal;min-width:150px"
_SAYS = "margin:14px 0 10px;font-size:18px"
_LONGEST, _LONGEST_TEXT = 24, 160  # letters of a header, of a text that is one


def heat_table(heat: Heat) -> str:
    r"""
    Draw one table, which scrolls where it is too wide or too tall.

    Args:
        heat (Heat): What to draw.

    Returns:
        str: HTML.
    """
    head = f'<th scope="col">{escape(heat.corner)}</th>'
    head += "".join(_column(text, turned=heat.turned) for text in heat.columns)
    head += _beside(heat.beside, heat.numeric, 'th scope="col"')
    body = "".join(_row(row, heat.numeric) for row in heat.rows)
    # What scrolls must be reachable by keyboard; where scripts are on, its cells are.
    return (
        f'<div class="ecco-heat" role="group" tabindex="0" aria-label="{_plain(heat.name)}" '
        f'style="overflow-x:auto"><table style="{_TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _column(text: str, *, turned: bool) -> str:
    shown = escape(cut(text, _LONGEST))
    inner = f'<span class="ecco-turned">{shown}</span>' if turned else shown
    return f'<th scope="col" title="{escape(visible(text))}">{inner}</th>'


def _row(row: Row, numeric: Sequence[int]) -> str:
    line = f' class="ecco-crossing" style="{_MARKS["crossing"]}"' if row.crossing else ""
    cells = "".join(map(_cell, row.cells)) + _beside(row.beside, numeric, "td")
    return f"<tr{line}>{_label(row)}{cells}</tr>"


def _label(row: Row) -> str:
    """Names the row on one line, or, where it is a text, on several."""
    whole, style = visible(row.label), _PADDING + (_WRAPPED if row.small else "")
    shown = cut(row.label, _LONGEST_TEXT if row.small else _LONGEST)
    title = f' title="{escape(whole)}"' if shown != whole else ""
    small = _small(row.small) if row.small else ""
    return f'<th scope="row" style="{style}"{title}><bdi>{escape(shown)}</bdi>{small}</th>'


def _cell(cell: Cell) -> str:
    styles, classes = [_PADDING], [f"ecco-is-{mark}" for mark in cell.marks]
    if cell.level:
        # Translucent, so that the notebook's own ink can be read on it in a light and a dark theme.
        ramp, hue = _HUES[cell.level > 0]
        styles.append(f"background:rgba({hue},{0.4 * abs(cell.level) / LEVELS:.2f})")
        classes.insert(0, f"{ramp}{abs(cell.level)}")
    styles += [_MARKS[mark] for mark in cell.marks]
    name = f' class="{" ".join(classes)}"' if classes else ""
    return (
        f'<td{name} style="{";".join(styles)}" title="{escape(cell.says)}">'
        f"{escape(cell.text)}{_small(cell.small) if cell.small else ''}</td>"
    )


def _small(text: str) -> str:
    return f'<span class="ecco-small" style="{_SMALL}">{_plain(text)}</span>'


def _beside(texts: Sequence[str], numeric: Sequence[int], tag: str) -> str:
    cells = ""
    for column, text in enumerate(texts):
        whole, shown = visible(text), cut(text, _LONGEST)
        title = f' title="{escape(whole)}"' if shown != whole else ""
        side, number = ("right", " ecco-number") if column in numeric else ("left", "")
        cells += (
            f'<{tag} class="ecco-beside{number}" style="{_PADDING};text-align:{side}"{title}>'
            f"<bdi>{escape(shown)}</bdi></{tag[:2]}>"
        )
    return cells


def heat_blocks(heat: Heat, many: str) -> str:
    r"""
    Draw a table in parts of `BLOCK` columns; the first is open, the others are folded away.

    Args:
        heat (Heat): What to draw.
        many (str): What the columns are called, such as ``"outputs"``.

    Returns:
        str: HTML.
    """
    if len(heat.columns) <= BLOCK:
        return heat_table(heat)
    drawn = []
    for part in blocks(len(heat.columns)):
        which = f"{many} {part.start}–{part.stop - 1}"
        rows = [replace(row, cells=row.cells[part]) for row in heat.rows]
        name = f"{heat.name}, {which}"
        table = heat_table(replace(heat, name=name, columns=heat.columns[part], rows=rows))
        drawn.append(folded(which, table) if part.start else table)
    return "".join(drawn)


def folded(summary: str, inside: str) -> str:
    """HTML that opens on demand; only the summary is escaped."""
    return f"<details><summary>{_plain(summary)}</summary>{inside}</details>"


def scale(meaning: str, low: str, high: str, *, signed: bool = False) -> str:
    r"""
    The ramp with its real ends; without its style sheet, the ends in words.

    Args:
        meaning (str): What the colours mean.
        low (str): The value of the card itself, or of the strongest shade of the second hue.
        high (str): The value of the strongest shade.
        signed (bool, optional): Whether the second hue is used. Default: ``False``

    Returns:
        str: HTML.
    """
    return (
        f'<div class="{"ecco-signed" if signed else "ecco-scale"}"><div class="ecco-legend">'
        f"<span>{_plain(meaning)}: </span><span>{escape(low)}</span>"
        f'<span class="ecco-ramp"> to </span><span>{escape(high)}</span></div></div>'
    )


def said(sentence: str) -> str:
    """The answer in plain words, as HTML."""
    return f'<p class="ecco-says" style="{_SAYS}">{_plain(sentence)}</p>' if sentence else ""


def soft(sentence: str) -> str:
    """A line of explanation above a picture, as HTML."""
    return f'<p class="ecco-sub">{_plain(sentence)}</p>' if sentence else ""


def noted(sentence: str) -> str:
    """A line of explanation below a picture, as HTML."""
    return f'<p class="ecco-note">{_plain(sentence)}</p>' if sentence else ""


def _plain(text: str) -> str:
    return escape("".join(visible_parts(text)))


def heat_view(
    picture: str,
    *,
    width: int,
    fields: Sequence[Field] = (),
    colour: str = "",
    tokens: str = "top token",
    whole: bool = False,
    numbered: bool = False,
    below: str = "",
    signed: bool = False,
    title: str,
    subtitle: str = "",
    note: str = "",
) -> str:
    r"""
    Put a frame around heat tables.

    Args:
        picture (str): Trusted HTML of legend and tables.
        width (int): Width of a cell in px.
        fields (sequence of Field, optional): What cells can say instead and colours can mean; each
            covers all cells. Default: nothing to choose.
        colour (str, optional): Name of the field that the colours mean at first. Default: ``""``
        tokens (str, optional): What the cells say at first; ``""`` if it is that field, too, and
            cells and colours change together. Default: ``"top token"``
        whole (bool, optional): Whether the table is one, however wide. Default: ``False``
        numbered (bool, optional): Whether the cells hold numbers instead of tokens.
            Default: ``False``
        below (str, optional): Trusted HTML under the picture. Default: ``""``
        signed (bool, optional): Whether the second hue is used. Default: ``False``
        title (str): The question that the view answers.
        subtitle (str, optional): What is drawn. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.
    """
    packed = [field.packed(whole=whole) for field in fields]
    data = embed_json({"fields": packed, "colour": colour, "tokens": tokens, "width": width})
    key = view_key(data, picture, title, subtitle, note)
    ramps = ramp_css(within=".ecco-heat")
    if signed:
        ramps += ramp_css("cool", within=".ecco-heat")
    columns = max((len(field.texts[0]) for field in fields if len(field.texts)), default=1)
    fit = min(1.0, _PAPER / (_NAMES + columns * (width + _GAP)))
    name = "ecco-card ecco-heat-map" + (" ecco-numbered" if numbered else "")
    sheets = (asset("frame.css"), asset("faithfulness.css"), asset("heat.css"))
    body = (
        style(theme_css(), *sheets, ramps)
        + f'{data}<div class="{name}" style="--ecco-cell:{width}px;--ecco-fit:{fit:.2f}">{picture}'
        + f'</div><script type="module">\n{asset("heat.js")}bootHeat("{key}");\n</script>{below}'
    )
    return frame(body, title=title, subtitle=subtitle, note=note, key=key)
