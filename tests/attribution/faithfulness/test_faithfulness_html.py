"""The views of faithfulness: every number in a table, and charts whose labels can be read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_samples import CONDITIONS, Outline, cells_of, classified, faithful, sanitised

from ecco_captum import Faithfulness

NUMBER = r"−?\d+\.\d+"


def drawings(view: str) -> list[ET.Element]:
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", view, re.DOTALL)]


def with_drops(
    drops: np.ndarray, at_random: np.ndarray | None = None, **change: Any
) -> Faithfulness:
    """Drops are (conditions, fractions), random ones (orders, fractions), of both measures."""
    at_random = np.tile(drops[:1], (39, 1)) if at_random is None else at_random
    tables = {
        **dict.fromkeys(("comprehensiveness", "sufficiency"), np.repeat(drops[..., None], 9, 2)),
        **dict.fromkeys(("random_comprehensiveness", "random_sufficiency"), at_random),
    }
    return faithful(**{**tables, **change})


@pytest.mark.parametrize("draw", [Faithfulness.fragment, Faithfulness.strip])
def test_stripped_of_drawings_every_number_is_there(draw: Any) -> None:
    record = faithful()
    text = Outline(sanitised(draw(record))).text
    for words in (record.sentence, "Higher is better", "Lower is better", "95% of the orders"):
        assert words in text
    scores, rows = cells_of(draw(record))[:3], cells_of(draw(record))[3:]
    assert scores[0] == ["Random removals", "LDS", "p, chance", "p, position"]
    done = "Tokens are replaced by the mean embedding"
    assert scores[1] == [done, "0.40 [0.30, 0.50]", "0.001", "0.01"]
    assert scores[2] == ["Tokens are deleted", "0.40 [0.20, 0.60]", "0.002", "0.03"]
    curves = record.curves("comprehensiveness"), record.curves("sufficiency")
    for (header, *cells), values in zip((rows[:5], rows[5:]), curves, strict=True):
        assert header[1:] == ["AOPC", "10%", "20%", "50%"]
        assert [row[0] for row in cells] == list(CONDITIONS[:4])
        for row, expected in zip(cells, np.roll(values, 1, axis=1), strict=True):
            for cell, three in zip(row[1:], expected, strict=True):
                form = rf"{NUMBER} \[{NUMBER}, {NUMBER}\]" if row[0] == "random" else NUMBER
                assert re.fullmatch(form, cell)
                read = [float(n.replace("−", "-")) for n in re.findall(NUMBER, cell)]
                assert read == pytest.approx(three[: len(read)], abs=0.0051)


def test_numbers_of_any_size_keep_three_digits() -> None:
    drops = np.array([[1.0, 2.5, -3.1], *[[0.2, 0.3, 0.4]] * 3])
    for size in (1e-6, 1e-3, 1, 1e3, 1e6):
        view = with_drops(drops * size).fragment()
        largest = np.abs(drops).max() * size
        read = [
            float(number.replace("−", "-"))
            * {"k": 1e3, "M": 1e6}.get(unit, 1)
            * 10.0 ** float((exponent or "0").replace("−", "-"))
            for number, exponent, unit in re.findall(
                r"(−?\d+(?:\.\d+)?)(?:e(−?\d+))?([kM]?)", str(cells_of(view)[4:6])
            )
        ]
        assert any(value == pytest.approx(largest, rel=0.006) for value in map(abs, read))
    for zeros in (drops * 0, -drops * 0):
        view = with_drops(zeros).fragment()
        assert "−0 " not in Outline(sanitised(view)).text


finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.integers(4, 7), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_labels_at_lines_never_overlap_and_nothing_leaves_the_chart(
    conditions: int, fractions: int, data: st.DataObject
) -> None:
    texts = st.text(st.characters(), max_size=60)
    names = data.draw(st.lists(texts, min_size=conditions, max_size=conditions))
    count = (conditions + 3) * fractions
    values = np.array(data.draw(st.lists(finite, min_size=count, max_size=count)))
    values = values.reshape(conditions + 3, fractions)
    shares = np.linspace(0.1, 1, fractions) if fractions > 1 else [0.3]
    record = with_drops(values[3:], values[:3], names=names, fractions=shares)
    view = str(record.fragment()) + str(record.strip())
    view.encode("utf-8")
    assert len(drawings(view)) == 4
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
    svg, _ = drawings(faithful().fragment())
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"].startswith("Comprehensiveness, AOPC: gradient × input, L2 ")
    classes = [node.attrib["class"] for node in svg if node.tag.endswith("g")]
    assert sorted(classes) == [*["ecco-other"] * 3, "ecco-own"]
    assert classes[-1] == "ecco-own", "the one under test lies on top"


def test_conditions_are_escaped_and_cut_labels_keep_their_whole_text() -> None:
    names = ("integrated gradients over very many steps", *CONDITIONS[1:])
    view = faithful(names).fragment()
    assert not {"i", "script"} & set(Outline(view).tags)
    titles = [node.text for node in drawings(view)[0].iter() if node.tag.endswith("title")]
    assert set(titles) == set(names)


def test_the_strip_stands_under_an_attribution() -> None:
    record = faithful()
    view = record.attribution.fragment(record.strip())
    assert view.index("ecco-swap") < view.index(record.sentence) < view.index("A share says")
    assert view.count("<table") == 4
    assert classified().fragment(record.strip()).count("<svg") == 2
