"""When each token was decided: what a cell says, what its colour means, and the test of it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from heat_samples import agreement, rankings, readings
from view_samples import Outline, sanitised

from ecco_captum.core.text import format_number, format_share
from ecco_captum.display.colours import LEVELS
from ecco_captum.display.heat_table import rank_levels
from ecco_captum.lens.html import rankings_view


def cells(view: str) -> list[dict[str, str]]:
    found = re.findall(r"<td([^>]*)>([^<]*)</td>", view.split("ecco-card ecco-holding")[0])
    read = []
    for attributes, text in found:
        named = dict(Outline(f"<td{attributes}></td>").attributes)
        read.append({name: value or "" for name, value in named.items()} | {"text": text})
    return read


def levels(view: str) -> np.ndarray:
    found = [re.search(r"ecco-s(\d+)", cell.get("class", "")) for cell in cells(view)]
    return np.array([int(match.group(1)) if match else 0 for match in found])


def holding(view: str) -> list[list[list[str]]]:
    """Cells of the tables below the picture, as an untrusted notebook shows them."""
    below = sanitised(view).split("Does it hold?")[1]
    tables = re.findall(r"<table.*?</table>", below)
    return [
        [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>.*?</tr>", table)]
        for table in tables
    ]


def test_a_cell_says_everything_about_the_written_token() -> None:
    given = readings()
    given["ranks"][2, 4] = 18_342
    given["top_texts"][2][4] = " the"
    said = cells(rankings_view(**given))[2 * 6 + 4]
    logit = format_number(float(given["logits"][2, 4]))
    share, own = (format_share(float(given[name][2, 4])) for name in ("probs", "top_probs"))
    assert said["title"] == (
        f"block 1, output 4 “Czech”: rank 18k (18,342), logit {logit}, probability {share}; "
        f"this layer's own: “the”, {own}"
    )
    assert said["text"] == "the"


def test_colours_mean_what_was_asked_for() -> None:
    given = readings()
    by_rank, by_logit, by_prob = (levels(rankings(value=v)) for v in ("rank", "logit", "prob"))
    assert by_rank.tolist() == rank_levels(given["ranks"]).ravel().tolist()
    for shown, name in ((by_logit, "logits"), (by_prob, "probs")):
        values = given[name].ravel()
        assert shown[int(values.argmax())] == LEVELS
        assert (np.diff(shown[np.argsort(values)]) >= 0).all()
    assert by_logit[int(given["logits"].argmin())] == 0
    lowest = format_number(float(given["logits"].min()))
    assert f"{lowest} to 12.0" in Outline(sanitised(rankings(value="logit"))).text
    assert "log: 49k to 1" in Outline(sanitised(rankings())).text
    highest = format_share(float(given["probs"].max()))
    assert f"0% to {highest}" in Outline(sanitised(rankings(value="prob"))).text


def test_the_written_token_is_marked_beyond_colour() -> None:
    given = readings()
    for cell, rank in zip(cells(rankings()), given["ranks"].ravel(), strict=True):
        assert ("ecco-is-own" in cell.get("class", "")) == (rank == 1)
        assert ("font-weight:700" in cell["style"]) == (rank == 1)
    assert "Bold: the layer's own token" in Outline(sanitised(rankings())).text


def test_the_embedded_data_hold_what_a_reader_can_choose() -> None:
    view, given = rankings(value="prob"), readings()
    data = json.loads(Outline(view).script_texts[0])
    assert data["colour"] == "probability"
    assert [field["name"] for field in data["fields"]] == ["rank", "logit", "probability"]
    logits = [format_number(float(v)) for v in given["logits"].ravel()]
    assert data["fields"][1]["texts"].split() == logits
    for field, value in zip(data["fields"], ("rank", "logit", "prob"), strict=True):
        packed = [int(digit, 36) for digit in field["levels"]]
        assert packed == levels(rankings(value=value)).tolist()
        assert len(field["texts"].split(" ")) == 30


def test_the_test_below_has_a_row_for_each_layer() -> None:
    given, tested = readings(), agreement()
    (table,) = holding(rankings(**tested, sentence="It holds."))
    header, *rows = table
    assert header == [
        *("Layer", "Ranked first", "Shuffled", "Median rank", "Shuffled", "Cosine", "KL, nats")
    ]
    assert [row[0] for row in rows] == list(given["layers"])
    assert [row[1] for row in rows] == [
        format_share(share) for share in (given["ranks"] == 1).mean(1)
    ]
    assert {row[2] for row in rows} == {"0%"}
    assert rows[-1][3:] == ["1", "47", "1.00", "0"]
    assert [row[5] for row in rows] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [row[6] for row in rows] == ["8.00", "6.00", "4.00", "2.00", "0"]


def test_medians_between_two_ranks_keep_their_half() -> None:
    given = readings(2, 2)
    given["ranks"] = np.array([[7000, 7003], [7, 8]])
    (table,) = holding(rankings_view(**given, cosine=np.array([[0.5, 0.3], [-0.01, 0.0]])))
    assert [row[2] for row in table[1:]] == ["7.0k", "7.5"]
    assert [row[3] for row in table[1:]] == ["0.40", "−0.01"]


@pytest.mark.parametrize(("layers", "shown"), [(12, 12), (13, 7), (31, 11), (100, 12)])
def test_many_layers_are_thinned_and_all_of_them_can_be_opened(layers: int, shown: int) -> None:
    tables = holding(rankings_view(**readings(2, layers), **agreement(2, layers)))
    assert len(tables[0]) - 1 == shown
    assert tables[0][1][0] == "embedding"
    assert tables[0][-1][0] == f"block {layers - 2}"
    assert (len(tables) == 2) == (layers > 12)
    assert len(tables[-1]) - 1 == layers


def test_the_test_shows_only_what_was_measured() -> None:
    assert "Does it hold?" not in rankings(sentence="Only a sentence.")
    assert "Only a sentence." in rankings(sentence="Only a sentence.")
    view = rankings(divergence=agreement()["divergence"])
    assert holding(view)[0][0] == ["Layer", "Ranked first", "Median rank", "KL, nats"]
    assert "Shuffled:" not in Outline(view).text
    assert "Shuffled:" in Outline(rankings(**agreement())).text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "odds"}, "value: got 'odds', accepts 'rank', 'logit', 'prob'"),
        ({"outputs": ()}, "outputs: got"),
        ({"layers": ("embedding",)}, r"ranks: got shape \(5, 6\), accepts \(layers, outputs\)"),
        ({"ranks": np.zeros((5, 6))}, "ranks: got 0"),
        ({"logits": np.full((5, 6), np.inf)}, "logits: got inf"),
        ({"probs": np.full((5, 6), 2.0)}, "probs: got 2"),
        ({"top_texts": [["a"] * 6] * 4}, "top_texts: got 4 rows of 6 texts"),
        ({"top_probs": np.zeros((6, 5))}, r"top_probs: got shape \(6, 5\)"),
        ({"cosine": np.zeros(5)}, r"cosine: got shape \(5,\)"),
        ({"divergence": np.full((5, 6), np.nan)}, "divergence: got nan"),
        ({"shuffled_ranks": np.zeros((5, 6))}, "shuffled_ranks: got 0"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rankings(**change)


def test_a_layer_that_is_infinitely_far_says_so() -> None:
    given = readings()
    far = np.ones_like(given["ranks"], dtype=float)
    far[1, 0] = np.inf
    html = rankings_view(**given, divergence=far)
    assert "∞" in Outline(sanitised(html)).text
