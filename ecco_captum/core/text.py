"""What a person reads: numbers in three digits, and texts in which no character hides."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MINUS = "\u2212"

_BIDI = {
    0x061C: "ALM", 0x200E: "LRM", 0x200F: "RLM", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
}  # fmt: skip
_MARKS = {" ": "␣", "\n": "↵", "\t": "⇥"}
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# Letters and a symbol to Unicode, blank to the eye.


def format_number(value: float) -> str:
    """Writes a finite number with three significant digits: ``0.497``, ``1.23k``, ``4.2e−5``."""
    sign, size = (MINUS if value < 0 else ""), abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 999.5e9:
        mantissa, exponent = f"{size:.1e}".split("e")
        return f"{sign}{mantissa}e{exponent[0].replace('-', MINUS).strip('+')}{int(exponent[1:])}"
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit * 0.9995:
            return f"{sign}{_three_digits(size / unit)}{letter}"
    return sign + _three_digits(size)


def _three_digits(size: float) -> str:
    return f"{size:#.3g}".rstrip(".")


def format_fixed(value: float, digits: int = 2) -> str:
    """Writes a finite number with so many decimals, such as ``−0.01``; never ``−0.00``."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", MINUS)


def format_p(p_value: float) -> str:
    """Writes a p-value with two significant digits, such as ``0.001``, ``0.53``, ``1``."""
    return f"{p_value:.2g}"


def with_interval(three: Iterable[float]) -> str:
    """Writes a number and the interval around it, such as ``1.64 [0.725, 2.61]``."""
    middle, low, high = (format_number(float(number)) for number in three)
    return f"{middle} [{low}, {high}]"


def format_share(share: float) -> str:
    """Writes a share of a whole in percent, such as ``20.0%``, ``6.2%``, ``0.42%``, ``100%``."""
    sign, percent = (MINUS if share < 0 else ""), 100 * abs(share)
    if percent == 0:
        return "0%"
    if percent < 0.001:
        return "≈0%"
    if percent >= 99.95:
        return f"{sign}100%"
    if percent >= 0.995:
        return f"{sign}{percent:.1f}%"
    digits = 2 if percent >= 0.0995 else 3
    return f"{sign}{percent:.{digits}f}%"


def format_rank(rank: int) -> str:
    """Writes a rank, where 1 is the best; over 999 in thousands: ``7``, ``1.2k``, ``12k``."""
    if rank < 1000:
        return str(rank)
    return f"{rank / 1000:.1f}k" if rank < 9950 else f"{rank / 1000:.0f}k"


def visible_parts(text: str) -> list[str]:
    r"""Cuts a text into what it says and the marks that stand for what cannot be seen, in turn.

    Controls, surrogates without a partner, line separators and the characters that change the
    direction of writing are always replaced by a mark, since they could break the page or lie about
    it. Blanks get a mark only where the whole text would otherwise be invisible; a newline then
    stays, after its mark, so that the line still breaks.

    Examples::

        >>> visible_parts(" Austria"), visible_parts("\n"), visible_parts("a\x00")
        ([' Austria'], ['', '↵', '\n'], ['a', 'U+0000'])
    """
    blank = not any(map(_has_shape, text))
    parts = [""]
    for character in text:
        mark = _always_marked(character) or (_blank_mark(character) if blank else "")
        if mark:
            parts += [mark, "\n" if character == "\n" else ""]
        else:
            parts[-1] += character
    return parts if parts[-1] or len(parts) == 1 else parts[:-1]


def visible(text: str) -> str:
    r"""Writes a text on one line, trimmed, with a mark for each character that cannot be seen.

    Examples::

        >>> visible(" Austria"), visible("\n"), visible(".\n")
        ('Austria', '↵', '.↵')
    """
    parts = visible_parts(text)
    if len(parts) == 1:
        return text.strip(" ").replace("\n", "↵").replace("\t", "⇥")
    return "".join(parts).replace("\n", "").strip(" ")


def in_quotes(text: str) -> str:
    """Writes a token as a sentence names it, such as ``“Austria”``, ``“↵”``."""
    return f"“{visible(text)}”"


def _has_shape(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZC" and not (
        character in _FILLERS or "\ufe00" <= character <= "\ufe0f"
    )


def _always_marked(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if code in _BIDI:
        return _BIDI[code]
    hidden = category in ("Cs", "Zl", "Zp") or (category == "Cc" and character not in "\n\t")
    return f"U+{code:04X}" if hidden else ""


def _blank_mark(character: str) -> str:
    return _MARKS.get(character) or f"U+{ord(character):04X}"
