"""Numbers keep three digits, and no character of a text hides."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecco_captum.core.text import (
    format_number,
    format_rank,
    format_share,
    visible,
    visible_parts,
)

UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
ANY_TEXT = st.text(st.characters(), max_size=12)  # surrogates and controls included


def read(written: str) -> float:
    number, unit = re.fullmatch(r"(.*?)([kMG]?)", written.replace("−", "-")).groups()
    return float(number) * UNITS[unit]


@given(st.floats(min_value=1e-30, max_value=1e30) | st.floats(max_value=-1e-30, min_value=-1e30))
def test_a_number_is_written_within_its_digits(value: float) -> None:
    written = format_number(value)
    powers = "e" in written
    assert read(written) == pytest.approx(value, rel=0.051 if powers else 0.0051)
    digits = re.sub(r"e.*|[^0-9]", "", written).lstrip("0")
    assert len(digits) <= 3
    assert len(written) <= 8


@given(st.floats(min_value=1e-5, max_value=1))
def test_a_share_is_written_within_its_digits(share: float) -> None:
    written = format_share(share)
    percent = float(written.rstrip("%"))
    assert percent == pytest.approx(100 * share, rel=0.06 if share < 0.01 else 0.051, abs=0.0005)
    assert format_share(-share) == "−" + written


def test_shares_at_the_ends() -> None:
    assert [format_share(s) for s in (0, 1, 1e-9, 0.99949)] == ["0%", "100%", "≈0%", "99.9%"]


@given(st.integers(min_value=1, max_value=2_000_000))
def test_ranks_over_999_are_in_thousands(rank: int) -> None:
    written = format_rank(rank)
    assert written.endswith("k") == (rank > 999)
    assert read(written) == pytest.approx(rank, rel=0.06)
    assert len(written) <= 5


@given(ANY_TEXT)
def test_parts_say_the_whole_text_and_hide_nothing(text: str) -> None:
    plain, marks = visible_parts(text)[::2], visible_parts(text)[1::2]
    assert all(marks)
    shown = "".join(plain)
    for character in shown:
        category = unicodedata.category(character)
        assert category not in ("Cs", "Zl", "Zp")
        assert category != "Cc" or character in "\n\t"
        assert unicodedata.bidirectional(character) not in {
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        }  # fmt: skip
    rest = iter(text)
    assert all(character in rest for character in shown), "in order, and nothing added"
    both = text.count("\n") if "↵" in marks else 0  # a marked newline still breaks the line
    assert len(shown) + len(marks) == len(text) + both


@given(ANY_TEXT.filter(bool))
def test_no_text_is_invisible(text: str) -> None:
    assert visible(text).strip()
    assert "\n" not in visible(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (" Austria", [" Austria"]),
        (".\n", [".\n"]),
        ("\n", ["", "↵", "\n"]),
        ("\n\n", ["", "↵", "\n", "↵", "\n"]),
        ("  ", ["", "␣", "", "␣"]),
        ("", [""]),
        ("👨\u200d👩", ["👨\u200d👩"]),
        ("\u200d", ["", "U+200D"]),
        ("a\u202eb", ["a", "RLO", "b"]),
        ("\ud83d", ["", "U+D83D"]),
        ("\x00", ["", "U+0000"]),
        ("\u2800", ["", "U+2800"]),
        ("e\u0301", ["e\u0301"]),
    ],
)
def test_marks_stand_only_where_nothing_would_be_seen(text: str, parts: list[str]) -> None:
    assert visible_parts(text) == parts
