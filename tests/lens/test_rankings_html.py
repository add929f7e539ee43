"""When each token was decided: what a cell says, what its colour means, and the test of it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from heat_samples import listed
from view_samples import Outline, sanitised

from ecco_captum.core.text import format_number, format_share
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.heat_table import rank_levels
from ecco_captum.lens.html import rankings_view

RECORD = listed(6, 5)


def cells(view: str) -> list[dict[str, str]]:
    tags = re.findall(r"<td([^>]*)>([^<]*)</td>", view.split("ecco-card ecco-holding")[0])
    read = []
    for attributes, text in tags:
        named = dict(Outline(f"<td{attributes}></td>").attributes)
        read.append({name: value or "" for name, value in named.items()} | {"text": text})
    return read


def levels(view: str) -> np.ndarray:
    shades = [re.search(r"ecco-s(\d+)", cell.get("class", "")) for cell in cells(view)]
    return np.array([int(match.group(1)) if match else 0 for match in shades])


def holding(view: str) -> list[list[list[str]]]:
    """Cells of the tables below the picture, as an untrusted notebook shows them."""
    below = sanitised(view).split("ecco-holding")[1]
    tables = re.findall(r"<table.*?</table>", below)
    return [
        [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>.*?</tr>", table)]
        for table in tables
    ]


def test_a_cell_says_everything_about_the_written_token() -> None:
    ranks, tops = RECORD.ranks.copy(), RECORD.top_ids.copy()
    ranks[2, 4], tops[2, 4] = 18_342, 6
    record = listed(6, 5, ranks=ranks, top_ids=tops, texts={**RECORD.texts, "6": " the"})
    said = cells(record.fragment())[2 * 6 + 4]
    logit = format_number(float(record.logits[2, 4]))
    share, own = (format_share(float(values[2, 4])) for values in (record.probs, record.top_probs))
    assert said["title"] == (
        f"block 1, output 4 “Czech”: rank 18k (18,342), logit {logit}, probability {share}; "
        f"the layer's top token: “the”, {own}"
    )
    assert said["text"] == "the"


def test_colours_mean_what_was_asked_for() -> None:
    views = {value: listed(6, 5, value=value).fragment() for value in ("rank", "logit", "prob")}
    assert levels(views["rank"]).tolist() == rank_levels(RECORD.ranks).ravel().tolist()
    for value, values in (("logit", RECORD.logits.ravel()), ("prob", RECORD.probs.ravel())):
        shown = levels(views[value])
        assert shown[int(values.argmax())] == LEVELS
        assert (np.diff(shown[np.argsort(values)]) >= 0).all()
    assert levels(views["logit"])[int(RECORD.logits.argmin())] == 0
    legends = {value: Outline(sanitised(view)).text for value, view in views.items()}
    assert f"{format_number(float(RECORD.logits.min()))} to 12.0" in legends["logit"]
    assert "log: 49k to 1" in legends["rank"]
    assert f"0% to {format_share(float(RECORD.probs.max()))}" in legends["prob"]


def test_the_written_token_is_marked_beyond_colour() -> None:
    view = RECORD.fragment()
    for cell, rank in zip(cells(view), RECORD.ranks.ravel(), strict=True):
        assert ("ecco-is-own" in cell.get("class", "")) == (rank == 1)
        assert ("font-weight:700" in cell["style"]) == (rank == 1)
    assert "Bold: the layer's top token is the one in the text." in Outline(sanitised(view)).text
    noted = Outline(sanitised(rankings_view(RECORD, chosen_note="Written greedily."))).text
    assert "Written greedily. Bold: the layer's" in noted


def test_the_embedded_data_hold_what_a_reader_can_choose() -> None:
    data = json.loads(Outline(listed(6, 5, value="prob").fragment()).script_texts[0])
    assert data["colour"] == "probability"
    assert [field["name"] for field in data["fields"]] == ["rank", "logit", "probability"]
    logits = [format_number(float(v)) for v in RECORD.logits.ravel()]
    assert data["fields"][1]["texts"].split() == logits
    for field, value in zip(data["fields"], ("rank", "logit", "prob"), strict=True):
        packed = [int(digit, 36) for digit in field["levels"]]
        assert packed == levels(listed(6, 5, value=value).fragment()).tolist()
        assert len(field["texts"].split(" ")) == 30


def test_the_test_below_has_a_row_for_each_layer() -> None:
    view = RECORD.fragment()
    assert RECORD.sentence in Outline(sanitised(view)).text
    (table,) = holding(view)
    header, *rows = table
    assert header == [
        *("Layer", "Ranked first", "Shuffled", "Median rank", "Shuffled", "Cosine", "KL, nats")
    ]
    assert [row[0] for row in rows] == RECORD.layer_names
    firsts = [format_share(share) for share in (RECORD.ranks == 1).mean(1)]
    assert [row[1] for row in rows] == firsts
    assert {row[2] for row in rows} == {"0%"}
    assert rows[-1][3:] == ["1", "47", "1.00", "0"]
    assert [row[5] for row in rows] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [row[6] for row in rows] == ["8.00", "6.00", "4.00", "2.00", "0"]


def test_medians_between_two_ranks_keep_their_half() -> None:
    ranks, cosine = np.array([[7000, 7003], [7, 8]]), np.array([[0.5, 0.3], [-0.01, 0.0]])
    (table,) = holding(listed(2, 2, ranks=ranks, cosine=cosine, shuffled_ranks=None).fragment())
    assert [row[2] for row in table[1:]] == ["7.0k", "7.5"]
    assert [row[3] for row in table[1:]] == ["0.40", "−0.01"]


@pytest.mark.parametrize(("layers", "shown"), [(12, 12), (13, 7), (31, 11), (100, 12)])
def test_many_layers_are_thinned_and_all_of_them_can_be_opened(layers: int, shown: int) -> None:
    tables = holding(listed(2, layers).fragment())
    assert len(tables[0]) - 1 == shown
    assert tables[0][1][0] == "embedding"
    assert tables[0][-1][0] == f"block {layers - 2}"
    assert (len(tables) == 2) == (layers > 12)
    assert len(tables[-1]) - 1 == layers


def test_without_a_control_nothing_is_said_of_shuffling() -> None:
    view = listed(6, 5, shuffled_ranks=None).fragment()
    assert holding(view)[0][0] == ["Layer", "Ranked first", "Median rank", "Cosine", "KL, nats"]
    assert "huffled" not in Outline(sanitised(view)).text
    assert "Shuffled:" in Outline(sanitised(RECORD.fragment())).text


def test_rounding_beyond_one_is_no_probability() -> None:
    view = listed(6, 5, probs=np.full((5, 6), 1.0000004), value="prob").fragment()
    assert "0% to 100%" in Outline(sanitised(view)).text
    assert set(levels(view)) == {LEVELS}


def test_a_layer_that_is_infinitely_far_says_so() -> None:
    far = np.ones(RECORD.ranks.shape)
    far[1, 0] = np.inf
    (table,) = holding(listed(6, 5, divergence=far).fragment())
    assert [row[-1] for row in table[1:]] == ["1.00", "∞", "1.00", "1.00", "1.00"]


def test_each_column_has_its_tokens_index() -> None:
    record = RECORD
    view = record.fragment()
    indices = re.findall(r'class="ecco-index"[^>]*>(\d+)</span>', view)
    assert indices == [str(position) for position in record.positions]
