"""Every record of the lens as a page and as a figure, with its own numbers in them."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from method_samples import subject
from view_samples import Outline, sanitised

from ecco_captum import layer_predictions, minimal_pairs, rankings, rankings_watch
from ecco_captum.core.text import format_rank, visible


def records() -> dict[str, Any]:
    lm, text = subject("causal:gpt2")
    masked, filled = subject("masked:bert")
    return {
        "rankings": rankings(lm, text),
        "without control": rankings(lm, text, control=False, value="prob"),
        "some layers": rankings(lm, text, layers=[1, 3], value="logit"),
        "every position": rankings(masked, filled, positions="all"),
        "watched": rankings_watch(lm, text, [5, 9]),
        "predictions": layer_predictions(lm, text, -1, k=3),
        "pairs": minimal_pairs(lm, ["the keys ___", "a key ___"], (5, 9)),
    }


RECORDS = records()


@pytest.mark.parametrize("name", RECORDS)
def test_a_page_stripped_of_all_but_text_says_what_was_found(name: str) -> None:
    record = RECORDS[name]
    plain = Outline(sanitised(record.to_html())).text
    assert record.sentence in plain
    assert record.subtitle in plain
    assert all(layer in plain for layer in record.layer_names)


def test_cells_say_the_ranks() -> None:
    record = RECORDS["rankings"]
    titles = re.findall(r'<td[^>]* title="([^"]+)"', record.to_html())
    assert len(titles) == record.ranks.size
    for row, layer in enumerate(record.layer_names):
        for column in range(record.ranks.shape[1]):
            said = titles[row * record.ranks.shape[1] + column]
            assert said.startswith(f"{layer}, output {column} ")
            assert f"rank {format_rank(int(record.ranks[row, column]))}" in said
    watched = RECORDS["watched"]
    rows = re.findall(r"<tr.*?</tr>", watched.to_html(), flags=re.DOTALL)[1:]
    for ranks, row in zip(watched.ranks, rows, strict=True):
        cells = [Outline(cell).text for cell in re.findall(r"<td.*?</td>", row, flags=re.DOTALL)]
        assert cells[:2] == [format_rank(int(rank)) for rank in ranks]


@pytest.mark.parametrize("name", RECORDS)
def test_a_figure_is_a_vector_with_real_text(name: str) -> None:
    pytest.importorskip("matplotlib")
    record, file = RECORDS[name], io.StringIO()
    record.plot(title="a title").savefig(file, format="svg")
    drawn = file.getvalue()
    assert "a title" in drawn
    assert "<text" in drawn
    if name.startswith(("rank", "every")):
        for text in {visible(text) for text in record.target_texts}:
            assert text[:3] in Outline(drawn).text


def test_the_test_of_the_lens_is_a_figure_too() -> None:
    pytest.importorskip("matplotlib")
    for name, lines in (("rankings", 1), ("without control", 0)):
        file = io.StringIO()
        RECORDS[name].plot_agreement().savefig(file, format="svg")
        assert file.getvalue().count(">shuffled<") == lines


def test_several_positions_are_a_page_and_no_figure() -> None:
    lm, text = subject("causal:gpt2")
    found = rankings_watch(lm, text, [5, 9], position="all")
    assert found.sentence in Outline(sanitised(found.to_html())).text
    with pytest.raises(ValueError, match="positions were watched, a figure shows one"):
        found.plot()


def test_cells_name_prompt_tokens_by_their_position_and_outputs_by_their_number() -> None:
    record = RECORDS["every position"]
    columns = record.ranks.shape[1]
    titles = re.findall(r'<td[^>]* title="([^"]+)"', record.to_html())[:columns]
    start = record.generation.tokens.prompt_length
    for position, said in zip(record.positions, titles, strict=True):
        known = f"output {position - start} " if position >= start else f"position {position} "
        assert said.startswith(f"embedding, {known}")
    assert sum("output" in said for said in titles) == 2
