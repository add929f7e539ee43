"""Two attributions side by side: both sides' exact numbers, and how far they agree."""

from __future__ import annotations

import base64
import re

import numpy as np
from view_samples import Outline, cells_of, comparison, embedded, hostile, sanitised

from ecco_captum.attribution.html import pack_scores
from ecco_captum.core.text import format_number, format_share, visible

SOME = [0, 4, 8]
BOTH = comparison(SOME)


def test_both_sides_arrive_bit_for_bit() -> None:
    data = embedded(BOTH.fragment())
    assert data["outputs"] == SOME
    for sent, side in zip(data["sides"], (BOTH.left, BOTH.right), strict=True):
        assert base64.b64decode(sent["scores"]) == pack_scores(side)
    assert [(side["label"], side["signed"]) for side in data["sides"]] == [
        ("plain", False),
        ("signed", True),
    ]


def test_without_scripts_sources_and_agreement_are_read_as_a_table() -> None:
    shown = sanitised(BOTH.fragment())
    text = Outline(shown).text
    assert text.startswith("Do two attributions agree?")
    assert "Agreement, mean of 3 generated tokens: Spearman −0.125, top-5 overlap 0.533." in text
    assert text.endswith("test the faithfulness of each.")
    header, *rows = cells_of(BOTH.fragment())
    below = " (below 0: it lowered the score)"
    sources = [f"{side}: top sources, with their share" for side in ("plain", "signed")]
    assert header[2:] == [sources[0], sources[1] + below, "Spearman", "top-5 overlap"]
    tokens, scores = BOTH.left.tokens, (BOTH.left.scores, BOTH.right.scores)
    for k, t in enumerate(SOME):
        assert rows[k][:2] == [visible(tokens.texts[tokens.prompt_length + t]), str(t)]
        for cell, side in zip(rows[k][2:4], scores, strict=True):
            top = int(np.argmax(np.abs(side[k])))
            share = format_share(float(side[k, top] / np.abs(side[k]).sum(dtype=np.float64)))
            assert cell.startswith(f"{visible(tokens.texts[top])} {share}")
        spearman = (
            "–" if np.isnan(BOTH.rank_correlation[k]) else format_number(BOTH.rank_correlation[k])
        )
        assert rows[k][4:] == [spearman, format_number(BOTH.overlap[k])]


def test_hostile_texts_add_no_tag_and_no_attribute() -> None:
    left, right = hostile(), hostile(model='" onload="x')
    read, known = Outline(left.compare(right).fragment()), Outline(BOTH.fragment())
    assert set(read.tags) == set(known.tags)
    assert {name for name, _ in read.attributes} == {name for name, _ in known.attributes}
    assert not re.search(r"<img|<b>", sanitised(left.compare(right).fragment()))
