"""Explorers as Python sees them: what is chosen is computed, kept, cancelled, and drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_samples import GENERATION, LM, settled
from method_samples import subject
from record_samples import probes

import ecco_captum as ec
from ecco_captum import widgets
from ecco_captum.display.page import escape
from ecco_captum.testing import model_state


def points_of(explorer: Any) -> list[Any]:
    """The chart's points, line by line."""
    return [mark for mark in explorer.lines.figure.marks if type(mark).__name__ == "Scatter"]


def similar() -> Any:
    texts = ["one text of some words", "another text, which is longer", "a third"] * 4
    return ec.compare(ec.hidden_states(LM, texts, progress=False), measure="cka", progress=False)


def factorised(count: int = 3) -> Any:
    return ec.nmf(ec.neurons(LM, "a text of some words to read"), count, negatives="abs")


RECORDS: dict[str, Callable[[], Any]] = {
    "attribution": lambda: ec.saliency(LM, GENERATION, progress=False),
    "rankings": lambda: ec.rankings(LM, GENERATION),
    "watched": lambda: ec.rankings_watch(LM, GENERATION, [5, 6], position=[1, 2]),
    "factors": factorised,
    "similarity": similar,
    "probes": probes,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_record_opens_with_its_static_view_beside(kind: str) -> None:
    record = RECORDS[kind]()
    explorer = record.explore()
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/html"] == record._repr_html_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert explorer.record is record
    mime, html = explorer._display_()._mime_()
    assert mime == "text/html", "for marimo, which draws no ipywidgets"
    assert str(escape(record.title)) in html
    assert "cannot draw" in html


def test_another_method_is_computed_once_and_kept() -> None:
    before = model_state(LM.model)
    record = ec.saliency(LM, GENERATION, progress=False)
    explorer = record.explore(LM)
    explorer.selected = 2
    explorer.method.value = "saliency"
    assert settled(explorer.runner) == ""
    expected = ec.saliency(LM, GENERATION, method="saliency", progress=False)
    np.testing.assert_array_equal(explorer.shown[0].scores, expected.scores)
    assert explorer.selected == explorer.strips[0].selected == 2, "the same output stays chosen"
    explorer.method.value = "input_x_gradient"
    assert explorer.shown == (record,), "known at once"
    explorer.score.value, explorer.aggregate.value = "prob", "sum"
    settled(explorer.runner)
    expected = ec.saliency(LM, GENERATION, score="prob", aggregate="sum", progress=False)
    np.testing.assert_array_equal(explorer.shown[0].scores, expected.scores)
    assert model_state(LM.model) == before


def test_two_attributions_stand_side_by_side_and_move_together() -> None:
    explorer = ec.saliency(LM, GENERATION, progress=False).explore(LM)
    explorer.beside.value = "feature_ablation"
    settled(explorer.runner)
    assert [record.method for record in explorer.shown] == ["input_x_gradient", "feature_ablation"]
    explorer.strips[1].selected = 3
    assert explorer.selected == explorer.strips[0].selected == 3
    explorer.group.value = "words"
    words = explorer.shown[0].by_word()
    assert len(explorer.strips) == 2
    assert explorer.strips[0].get_state()["_data"]["texts"] == list(words.tokens.texts)
    explorer.beside.value = ""
    assert explorer.view.children == (explorer.strips[0],)


def test_a_contrast_that_is_no_token_says_so_and_changes_nothing() -> None:
    record = ec.saliency(LM, GENERATION, progress=False)
    explorer = record.explore(LM)
    explorer.versus.value = "no single token at all"
    assert "Contrast" in settled(explorer.runner)
    assert explorer.shown == (record,)
    explorer.versus.value = ""
    explorer.check.click()
    assert settled(explorer.runner) == ""
    assert "Does it hold?" in explorer.strips[0].get_state()["_frame"]


def test_rankings_open_the_best_tokens_of_a_cell() -> None:
    record = ec.rankings(LM, GENERATION)
    explorer = record.explore(LM)
    settled(explorer.runner)
    explorer.view.selected = [1, 2]
    settled(explorer.runner)
    predicted = ec.layer_predictions(LM, GENERATION, int(record.positions[2]))
    np.testing.assert_allclose(explorer.bars.bars.y, predicted.probs[1], rtol=1e-6)
    assert "block 0" in explorer.bars.heading.value
    points = points_of(explorer)
    np.testing.assert_array_equal(points[0].y, record.ranks[:, 2])
    explorer.value.value = "logit"
    points = points_of(explorer)
    np.testing.assert_allclose(points[0].y, record.logits[:, 2])
    explorer.lines._clicked(None, {"data": {"index": 0}})
    assert explorer.selected == explorer.view.selected == [0, 2]
    alone = record.explore()
    alone.selected = [2, 1]
    np.testing.assert_allclose(alone.bars.bars.y, record.top_probs[2, 1][None], rtol=1e-6)


def test_watched_tokens_of_the_chosen_place_are_drawn() -> None:
    record = RECORDS["watched"]()
    explorer = record.explore()
    explorer.view.selected = [1, 3]  # the second place, its second token
    assert explorer.place.value == 1
    lines = points_of(explorer)
    np.testing.assert_array_equal(np.stack([mark.y for mark in lines]).T, record.ranks[1])


def test_factors_are_fitted_again_and_ablated() -> None:
    explorer = factorised().explore(LM)
    explorer.components.value = 2
    assert settled(explorer.runner) == ""
    np.testing.assert_array_equal(explorer.factors.weights, factorised(2).weights)
    explorer.layers.value = (1, 1)
    settled(explorer.runner)
    assert explorer.factors.activations.layers.tolist() == [1]
    explorer.view.selected = [1]
    neurons = explorer.factors.top_neurons(1, 10)
    assert explorer.selected == 1
    np.testing.assert_allclose(explorer.bars.bars.y, [abs(weight) for *_, weight in neurons])
    assert explorer.bars.bars.x[0] == f"block {neurons[0][0]}, {neurons[0][1]}"


def test_factors_that_are_being_fitted_again_are_stale() -> None:
    record, begun, go_on = factorised(), threading.Event(), threading.Event()

    def refit(count: int, layers: list[int]) -> ec.Factors:
        begun.set()
        go_on.wait(10)
        return factorised(count)

    explorer: Any = widgets.explore(record, refit=refit)
    assert not explorer.stale.on
    explorer.components.value = 2
    assert explorer.stale.on
    assert "ecco-stale" in explorer.picture._dom_classes
    assert "Still shown: 3 factors of blocks 0 to 2" in explorer.stale.line.value
    explorer.stale.button.click()
    assert explorer.components.value == 3
    assert not explorer.stale.on
    go_on.set()
    settled(explorer.runner)
    assert explorer.factors is record
    explorer.components.value = 2
    assert settled(explorer.runner) == ""
    assert not explorer.stale.on


def test_similarity_of_another_measure_is_stale_until_it_is_there() -> None:
    record, go_on = similar(), threading.Event()
    other = ec.Similarity(**{**vars(record), "values": -record.values / 2, "measure": "svcca"})

    def compute(measure: str, *, progress: Any) -> ec.Similarity:
        go_on.wait(10)
        return other

    explorer: Any = widgets.explore(record, compute=compute)
    assert (explorer.lines.y.min, explorer.lines.y.max)[0] == record.scale[0]
    explorer.measure.value = "svcca"
    assert explorer.stale.on
    assert "CKA" in explorer.stale.line.value
    go_on.set()
    settled(explorer.runner)
    assert not explorer.stale.on
    assert explorer.lines.y.min == other.scale[0] < 0, "the chart has the table's scale"


def test_similarity_draws_a_row_with_its_null_and_takes_other_measures() -> None:
    record = similar()
    other = ec.Similarity(**{**vars(record), "values": record.values / 2, "measure": "svcca"})
    explorer = widgets.explore(record, compute=lambda measure, *, progress: other)
    explorer.view.selected = [2, 1]
    points = points_of(explorer)
    np.testing.assert_array_equal(points[0].y, record.values[2])
    np.testing.assert_array_equal(points[1].y, record.null_95[2])
    explorer.null.value = False
    points = points_of(explorer)
    assert len(points) == 1
    explorer.measure.value = "svcca"
    settled(explorer.runner)
    assert explorer.record is other
    assert explorer.selected == [2, 1]
    explorer.measure.value = "cka"
    assert explorer.record is record


def test_probes_of_a_layer_show_what_they_confuse() -> None:
    report = probes()
    explorer = report.explore()
    best = int(report.accuracy[:5].mean(axis=1).argmax())
    assert explorer.selected == best
    explorer.kind.value = "neurons"
    assert explorer.selected >= 5
    explorer.lines._clicked(None, {"data": {"index": 1}})
    assert explorer.selected == 6
    count = report.confusion[6, 0, 1]
    assert f"NOUN predicted as VERB: {count} of" in explorer.view.get_state()["_html"]


def test_a_record_of_another_model_is_refused() -> None:
    record = ec.saliency(LM, GENERATION, progress=False)
    with pytest.raises(TypeError, match="lm: got a str"):
        record.explore("gpt2")  # type: ignore[arg-type]
    other, _ = subject("causal:llama")
    with pytest.raises(ValueError, match=r"lm: got .*, accepts the record's own model"):
        record.explore(other)


def test_nothing_of_the_widgets_needs_the_network() -> None:
    for path in Path(widgets.__file__).parent.glob("*.[jc]s*"):
        text = path.read_text(encoding="utf-8")
        assert "http" not in text, path.name
        assert "import(" not in text.replace("import(url)", ""), path.name


def test_a_page_without_scripts_keeps_its_tables(tmp_path: Path) -> None:
    for kind in ("attribution", "rankings", "factors", "probes"):
        record = RECORDS[kind]()
        plain, whole = record.to_html(tmp_path / "p.html", interactive=False), record.to_html()
        assert "<script" not in plain
        assert "<script" in whole
        assert "<table" in plain
        assert (tmp_path / "p.html").read_text("utf-8") == plain


def test_words_and_other_tasks_are_explored_as_they_are() -> None:
    words = ec.saliency(LM, GENERATION, progress=False).by_word()
    explorer = words.explore(LM)
    assert explorer.shown == (words,)
    assert explorer.group not in explorer.children[1].children, "they are words already"
    for kind in ("classification:bert", "masked:bert"):
        lm, generation = subject(kind)
        record = ec.saliency(lm, generation, progress=False)
        explorer = record.explore(lm)
        explorer.method.value = "saliency"
        assert settled(explorer.runner) == ""
        explorer.group.value = "words"
        shown = tuple(explorer.strips[0].get_state()["_data"]["texts"])
        assert shown == explorer.shown[0].by_word().tokens.texts
