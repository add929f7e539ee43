"""Static HTML: whatever text goes in, the same text is read out, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_samples import HOSTILE, Outline

import ecco_captum
from ecco_captum.display.page import asset, embed_json, escape, frame, page, part, table, token

ANY_TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(HOSTILE)
PLAIN_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=30)


@given(ANY_TEXT)
def test_an_escaped_text_stays_text(text: str) -> None:
    read = Outline(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert read.tags == ["p"]
    assert not read.comments
    ((name, value),) = read.attributes
    assert name == "title"
    assert value == read.text
    assert len(read.text) == len(text)
    escape(text).encode("utf-8")


@given(PLAIN_TEXT)
def test_a_text_that_html_can_carry_is_read_back_exactly(text: str) -> None:
    assert Outline(f"<p>{escape(text)}</p>").text == text


@given(st.lists(ANY_TEXT))
def test_embedded_json_is_read_back_exactly(texts: list[str]) -> None:
    script = embed_json(texts)
    assert script.isascii()
    read = Outline(f"<div>{script}</div><p>after</p>")
    assert read.tags == ["div", "script", "p"]
    assert json.loads("".join(read.script_texts)) == texts


def test_json_refuses_what_no_parser_reads() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embed_json({"score": float("nan")})


@given(title=ANY_TEXT, subtitle=ANY_TEXT, note=ANY_TEXT)
def test_a_page_holds_its_own_tags_only(title: str, subtitle: str, note: str) -> None:
    view = frame("<div></div>", title=title, subtitle=subtitle, note=note)
    read = Outline(page(view, title=title))
    body = read.tags[read.tags.index("body") :]
    paragraphs = ["p"] * (bool(subtitle) + bool(note))
    assert sorted(body) == sorted(["body", "main", "h1", "section", "h2", "div", *paragraphs])
    page(view, title=title).encode("utf-8")


def test_a_page_may_load_nothing() -> None:
    text = page("<p>x</p>", title="t")
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|src=", text)


def test_style_sheets_and_scripts_name_no_other_place() -> None:
    package = Path(ecco_captum.__file__).parent
    names = [str(path.relative_to(package)) for path in package.glob("*/*.[cj]s*")]
    assert len(names) > 9
    for name in names:
        text = asset(name).replace("http://www.w3.org/2000/svg", "")  # a name, never fetched
        assert not re.search(r"https?:|url\(|@import|\bfetch\b|XMLHttpRequest|import\(", text), name
        assert "</" not in text, name  # it could end the element that holds it


def test_a_table_aligns_numbers_and_escapes_its_header() -> None:
    html = table(("<Token>", "Share"), [[token("<b>"), "1%"]], numeric=(1,))
    read = Outline(html)
    assert read.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "th", "bdi", "td"]
    assert read.text == "<Token>Share<b>1%"
    styles = [value or "" for name, value in read.attributes if name == "style"]
    assert [("right" in style) for style in styles[1:]] == [False, True, False, True]


def test_a_long_token_is_cut_with_the_whole_as_tooltip() -> None:
    read = Outline(token("x" * 300))
    assert dict(read.attributes)["title"] == "x" * 300
    assert len(read.text) < 50


def test_a_scale_names_its_ends() -> None:
    assert Outline(part("scale", "share", "0%", "<34%")).text == "share: 0% to <34%"
