"""The views of faithfulness: every number in a table, and charts whose labels can be read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_samples import Outline, classified, countries, removal, sanitised

from ecco_captum.attribution.faithfulness.html import faithfulness_strip, faithfulness_view
from ecco_captum.attribution.html import saliency_view
from ecco_captum.display.page import page

NUMBER = r"−?\d+\.\d+"


def drawings(view: str) -> list[ET.Element]:
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", view)]


def tables(html: str) -> list[list[list[str]]]:
    """The texts of the cells, row after row, of each table of what an untrusted notebook shows."""
    found = re.findall(r"<table.*?</table>", sanitised(html))
    rows = [re.findall(r"<tr>(.*?)</tr>", table) for table in found]
    cell = r"<t[hd][ >].*?</t[hd]>"
    return [[[Outline(c).text for c in re.findall(cell, r)] for r in table] for table in rows]


@pytest.mark.parametrize("draw", [faithfulness_view, faithfulness_strip])
def test_stripped_of_drawings_every_number_is_there(draw) -> None:
    names, fractions, drops = removal()
    html = draw(names, fractions, drops, drops * 2 - 1, sentence="It <holds>.")
    text = Outline(sanitised(html)).text
    for words in ("It <holds>.", "Higher is better", "Lower is better", "95% intervals"):
        assert words in text
    for table, values in zip(tables(html), (drops, drops * 2 - 1), strict=True):
        header, *rows = table
        assert header[1:] == ["AOPC", "10%", "20%", "50%"]
        assert [row[0] for row in rows] == list(names)
        for row, expected in zip(rows, np.roll(values, 1, axis=1), strict=True):
            for cell, three in zip(row[1:], expected, strict=True):
                assert re.fullmatch(rf"{NUMBER} \[{NUMBER}, {NUMBER}\]", cell)
                read = [float(n.replace("−", "-")) for n in re.findall(NUMBER, cell)]
                assert read == pytest.approx(three, abs=0.0051)


def test_numbers_of_any_size_keep_three_digits() -> None:
    names, fractions, drops = removal(2)
    for size in (1e-6, 1e-3, 1, 1e3, 1e6):
        html = faithfulness_view(names, fractions, drops * size, drops)
        largest = np.abs(drops).max() * size
        read = [
            float(number.replace("−", "-"))
            * {"k": 1e3, "M": 1e6}.get(unit, 1)
            * 10.0 ** float((exponent or "0").replace("−", "-"))
            for number, exponent, unit in re.findall(
                r"(−?\d+(?:\.\d+)?)(?:e(−?\d+))?([kM]?)", str(tables(html)[0][1:])
            )
        ]
        assert any(value == pytest.approx(largest, rel=0.006) for value in map(abs, read))
    zeros = faithfulness_view(names, fractions, drops * 0, -drops[..., [0, 2, 1]])
    assert "−0 " not in Outline(sanitised(zeros)).text


finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.integers(1, 7), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_labels_at_lines_never_overlap_and_nothing_leaves_the_chart(
    conditions: int, fractions: int, data
) -> None:
    texts = st.text(st.characters(), max_size=60)
    names = data.draw(st.lists(texts, min_size=conditions, max_size=conditions))
    count = conditions * (fractions + 1) * 3
    values = np.array(data.draw(st.lists(finite, min_size=count, max_size=count)))
    values = np.sort(values.reshape(conditions, fractions + 1, 3), axis=-1)[..., [1, 0, 2]]
    shares = np.linspace(0.1, 1, fractions) if fractions > 1 else np.array([0.3])
    view = faithfulness_view(names, shares, values, values) + faithfulness_strip(
        names, shares, values, values
    )
    view.encode("utf-8")
    for svg in drawings(view):
        width, height = map(float, svg.attrib["viewBox"].split()[2:])
        groups = [child for child in svg if child.tag.endswith("g")]
        assert len(groups) == conditions
        spans = [
            [float(s.attrib["y"]) for s in group.iter() if s.tag.endswith("tspan")]
            for group in groups
        ]
        ends = sorted((min(ys), max(ys)) for ys in spans)
        assert all(low - high >= 13.9 for (_, high), (low, _) in pairwise(ends))
        for node in svg.iter():
            for name, value in node.attrib.items():
                if name in ("x", "x1", "x2", "cx"):
                    assert -0.1 <= float(value) <= width + 0.1
                if name in ("y", "y1", "y2", "cy"):
                    assert -0.1 <= float(value) <= height + 0.1


def test_a_chart_says_in_words_what_it_shows() -> None:
    names, fractions, drops = removal(2)
    svg, _ = drawings(faithfulness_view(names, fractions, drops, drops))
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"].startswith("Comprehensiveness, AOPC: gradient × input, L2 ")
    classes = [node.attrib["class"] for node in svg if node.tag.endswith("g")]
    assert sorted(classes) == ["ecco-other", "ecco-own"]
    assert classes[-1] == "ecco-own", "the one under test lies on top"


def test_conditions_are_escaped_and_cut_labels_keep_their_whole_text() -> None:
    names, fractions, drops = removal(6)
    long = "integrated gradients over very many steps"
    view = faithfulness_view((long, *names[1:]), fractions, drops, drops, note="n")
    read = Outline(view)
    assert not {"i", "script"} & set(read.tags)
    titles = [node.text for node in drawings(view)[0].iter() if node.tag.endswith("title")]
    assert set(titles) == {long, *names[1:]}


def test_the_strip_stands_under_an_attribution() -> None:
    names, fractions, drops = removal()
    strip = faithfulness_strip(names, fractions, drops, drops, sentence="It holds.")
    tokens, scores = countries()
    view = saliency_view(tokens, scores, below=strip, note="The end.")
    assert view.index("ecco-swap") < view.index("It holds.") < view.index("The end.")
    assert len(tables(view)) == 3
    saliency_view(*classified(), task="classification", below=strip)


def test_the_page_refers_to_no_network() -> None:
    names, fractions, drops = removal()
    text = page(faithfulness_view(names, fractions, drops, drops), title="t")
    assert not re.search(r"https?:|url\(|@import|<link|<img|src=|<script", text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": ()}, "conditions: got none"),
        ({"fractions": (0.5, 0.1, 0.2)}, r"fractions: got \[0.5, 0.1, 0.2\], accepts ascending"),
        ({"fractions": (0.0, 0.1, 0.2)}, "fractions: got"),
        ({"fractions": (0.1, 0.2, 1.5)}, "fractions: got"),
        ({"comprehensiveness": np.zeros((4, 3, 3))}, r"comprehensiveness: got shape \(4, 3, 3\)"),
        ({"sufficiency": np.full((4, 4, 3), np.nan)}, r"sufficiency: got \[nan, nan, nan\]"),
        ({"sufficiency": np.ones((4, 4, 3)) * (0, 1, -1)}, r"sufficiency: got \[0.0, 1.0, -1.0\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    names, fractions, drops = removal()
    given = {"conditions": names, "fractions": fractions}
    given |= {"comprehensiveness": drops, "sufficiency": drops, **change}
    with pytest.raises(ValueError, match=message):
        faithfulness_view(*given.values())
