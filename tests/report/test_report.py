"""A report: every analysis of one text equals the analysis alone, and each names its test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from factors_samples import effects, hostile_factors
from method_samples import subject
from view_samples import HOSTILE, Outline, faithful, hostile

import ecco_captum
from ecco_captum import Report, report
from ecco_captum.core.checks import Verdict
from ecco_captum.display.page import escape, without_scripts
from ecco_captum.models.language_model import LanguageModel

TEXT = "The keys to the cabinet are on the table"
KEYS = ["saliency", "similarity", "rankings", "watch", "factors", "probes"]


@pytest.fixture(scope="module")
def lm(tiny_lm: Callable[..., LanguageModel]) -> LanguageModel:
    return tiny_lm("gpt2")


@pytest.fixture(scope="module")
def whole(lm: LanguageModel) -> Report:
    return report(lm, TEXT, max_new_tokens=8, n_components=3)


def test_every_analysis_equals_the_analysis_alone(lm: LanguageModel, whole: Report) -> None:
    assert whole.refused == {}
    generation = ecco_captum.generate(lm, TEXT, max_new_tokens=8)
    assert whole.generation.output_ids.tolist() == generation.output_ids.tolist()
    best = whole.methods
    assert best is not None
    assert best.methods == ("gradient × input", "AttnLRP", "DeepLIFT", "attention")
    method = ("input_x_gradient", "attn_lrp", "deep_lift", "attention")[best.candidate]
    alone = ecco_captum.saliency(lm, generation, method=method)
    tested = ecco_captum.faithfulness(lm, alone, progress=False)
    assert whole.faithfulness.verdict == tested.verdict  # type: ignore[union-attr]
    assert whole.faithfulness.sentence == tested.sentence  # type: ignore[union-attr]
    np.testing.assert_allclose(whole.attribution.scores, alone.scores, rtol=1e-5)  # type: ignore[union-attr]
    np.testing.assert_array_equal(
        whole.rankings.ranks,  # type: ignore[union-attr]
        ecco_captum.rankings(lm, generation).ranks,
    )
    assert whole.watched is not None
    assert whole.watched.ranks[-1, 0] == 1, "greedy decoding chose the first token"
    assert whole.order is not None
    leads = whole.watched.logits[-1]
    assert whole.order.lead == pytest.approx(leads[0] - max(leads[1:]), abs=1e-4)
    assert len(whole.effects) == whole.factors.count == 3  # type: ignore[union-attr]


def test_each_finding_holds_its_number_and_its_test(whole: Report) -> None:
    assert [finding.key for finding in whole.findings] == KEYS
    by_key = {finding.key: finding for finding in whole.findings}
    assert whole.faithfulness is not None
    assert whole.methods is not None
    assert whole.methods.sentence in by_key["saliency"].outcome
    assert whole.faithfulness.weights_sentence in by_key["saliency"].outcome
    assert whole.attribution is not None
    strongest = whole.attribution.shares.max(axis=1).mean()
    assert f"{strongest:.1%}" in by_key["saliency"].answer
    assert whole.order is not None
    assert f"(p = {whole.order.p_value:.2g})" in by_key["watch"].outcome
    assert whole.probes is not None
    best = whole.probes.accuracy.mean(axis=1).max()
    assert f"{best:.1%}" in by_key["probes"].answer
    table = whole.to_pandas()
    assert table.index.tolist() == KEYS
    assert table["verdict"].isin(list(get_args(Verdict))).all()


def test_verdicts_follow_the_tests(whole: Report) -> None:
    faithful, order = whole.faithfulness, whole.order
    assert faithful is not None
    assert order is not None
    for p_values, verdict in (
        ([0.01, 0.01, 1.0], "supported"),
        ([0.01, 0.5, 1.0], "partly supported"),
        ([1.0, 1.0, 0.01], "not supported"),
        ([0.5, 0.5, 0.5], "inconclusive"),
    ):
        changed = replace(faithful, p_values=np.array([p_values] * 2), rank_correlation=0.1)
        named = replace(whole, faithfulness=changed, methods=None)
        assert named.findings[0].verdict == verdict
        assert named.findings[0].outcome == changed.sentence
    assert whole.methods is not None
    for p_value, correlation, verdict in (
        (0.01, 0.1, "supported"),
        (0.01, 0.9, "partly supported"),
        (0.2, 0.1, "inconclusive"),
        (0.2, 0.9, "not supported"),
    ):
        chosen = replace(whole.methods, candidate_p_values=np.full((2, 2), p_value))
        changed = replace(faithful, rank_correlation=correlation)
        tested = replace(whole, faithfulness=changed, methods=chosen)
        assert tested.findings[0].verdict == verdict
    untested = replace(whole, faithfulness=None).findings[0]
    assert (untested.verdict, untested.outcome) == (
        "inconclusive",
        "Skipped: faithfulness was not tested.",
    )
    for own, verdict in ((1.0, "supported"), (-1.0, "inconclusive")):
        excess = np.array([own, *np.zeros(39)])
        tested = replace(whole, order=replace(order, excess=excess))
        assert tested.findings[3].verdict == verdict
    ranks = whole.rankings
    assert ranks is not None
    assert ranks.shuffled_ranks is not None
    for prior, p_prompt, verdict in (
        (2, 0.01, "supported"),
        (2, 0.5, "inconclusive"),
        (2, None, "inconclusive"),
        (1, 0.01, "not supported"),
    ):
        shuffled_ranks = np.full_like(ranks.shuffled_ranks, prior)
        changed = replace(ranks, shuffled_ranks=shuffled_ranks, p_prompt=p_prompt)
        tested = replace(whole, rankings=changed)
        assert tested.findings[2].verdict == changed.verdict == verdict


def test_its_page_has_each_analysis_in_order(whole: Report) -> None:
    page = whole.to_html()
    for key in KEYS:
        assert f'href="#ecco-{key}"' in page
        assert page.count(f'id="ecco-{key}"') == 1
    places = [page.index(f'id="ecco-{key}"') for key in KEYS]
    assert places == sorted(places)
    for finding in whole.findings:
        assert str(escape(finding.line)) in page
        assert page.index(str(escape(finding.line))) < places[0], "on the first screen"


def test_no_sentence_is_there_twice(whole: Report) -> None:
    plain = re.sub(r"<style>.*?</style>", "", without_scripts(whole.to_html()), flags=re.DOTALL)
    blocks = re.split(r"</?(?:p|div|td|th|h\d|li|svg|text|title|details|summary|h1)\b[^>]*>", plain)
    lines = [Outline(block).text for block in blocks]
    sentences = [each for line in lines for each in re.split(r"(?<=[.?!]) ", line)]
    counts = Counter(each for each in sentences if len(each) > 40)
    assert len(counts) > 20
    assert not [each for each, count in counts.items() if count > 1]


def test_the_paper_s_method_is_beside_the_best(whole: Report, tmp_path: Path) -> None:
    def reread(report: Report) -> Report:
        return Report.load(report.save(tmp_path / "report.npz"))

    methods = whole.methods
    assert methods is not None
    for candidate in range(2):
        own = methods.attributions[candidate]
        chosen = replace(whole, attribution=own, methods=replace(methods, candidate=candidate))
        assert chosen.paper_attribution is methods.attributions[0]
        assert own.label in chosen.method_sentence.lower() or candidate
        assert bool(chosen.paper_sentence) == bool(candidate)
        assert chosen.paper_sentence == reread(chosen).paper_sentence
    said = chosen.paper_sentence
    row = methods.to_pandas().iloc[0]
    larger = row["p_chance"] if row["p_chance"] > 0.05 else row["p_position"]
    assert (f"(p = {larger:.2g})" in said) == (larger > 0.05)
    named = replace(whole, methods=None, settings={"method": "deep_lift"})
    assert named.method_sentence.endswith(", as asked for")


def test_it_is_shown_as_it_grows(lm: LanguageModel) -> None:
    seen: list[Report] = []
    made = report(lm, TEXT, max_new_tokens=6, n_components=2, update=seen.append)
    first, *_, last = seen
    assert first.attribution is not None
    assert first.attribution.method == "input_x_gradient"
    assert first.faithfulness is None
    assert first.pending == ("rankings", "watched", "similarity", "probes", "factors")
    assert "running …" in first.to_html()
    assert [len(each.pending) for each in seen] == [5, 5, 4, 3, 2, 1, 0]
    assert last.pending == made.pending == ()
    assert "running …" not in made.to_html()
    assert [each.to_html().count('http-equiv="refresh"') for each in (first, made)] == [1, 0]
    assert [each.verdict for each in last.findings] == [each.verdict for each in made.findings]


def test_of_several_methods_the_best_is_taken(lm: LanguageModel) -> None:
    few = {"max_new_tokens": 6, "n_components": 2}
    made = report(lm, TEXT, method=["occlusion", "saliency"], **few)  # type: ignore[arg-type]
    assert made.methods is not None
    assert made.methods.methods == ("occlusion", "gradient")
    assert made.paper_attribution is None
    assert made.settings["method"] == "occlusion or saliency"
    with pytest.raises(ValueError, match="method"):
        report(lm, TEXT, method=["occlusion", "no such method"])


def test_what_a_model_does_not_allow_is_named() -> None:
    made = report(subject("classification:bert")[0], TEXT, n_components=2)
    assert {"rankings", "watched"} <= set(made.refused)
    assert "is a classifier" in made.refused["rankings"]
    assert made.attribution is not None
    page = made.to_html()
    assert "When is each token decided? " in page
    assert 'id="ecco-rankings"' not in page


def test_masked_models_and_encoder_decoders(tiny_lm: Callable[..., LanguageModel]) -> None:
    masked = report(tiny_lm("bert", "masked"), "The [MASK] to [MASK] cabinet", n_components=2)
    assert masked.watched is not None
    np.testing.assert_allclose(masked.watched.logits[-1, 0], masked.generation.logits[0], rtol=1e-4)
    assert masked.order is None
    by_key = {finding.key: finding for finding in masked.findings}
    assert by_key["watch"].verdict == "inconclusive"
    written = report(tiny_lm("t5", "seq2seq"), TEXT, max_new_tokens=5, n_components=2)
    assert written.watched is not None
    logit = written.generation.logits[0]
    np.testing.assert_allclose(written.watched.logits[-1, 0], logit, rtol=1e-4)


def test_it_refuses_what_is_wrong_before_any_work(lm: LanguageModel) -> None:
    with pytest.raises(TypeError, match="lm: got a str"):
        report("gpt2", TEXT)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="corpus: got a list"):
        report(lm, TEXT, corpus=[])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="label: got 'pos'"):
        report(lm, TEXT, label="pos")
    with pytest.raises(ValueError, match="n_components: got 0"):
        report(lm, TEXT, n_components=0)
    with pytest.raises(ValueError, match="method"):
        report(lm, TEXT, method="no such method")


def test_it_reports_its_progress(lm: LanguageModel) -> None:
    parts: list[float] = []
    report(lm, TEXT, max_new_tokens=6, n_components=2, progress=parts.append)
    assert parts == sorted(parts)
    assert len(parts) > 50, "it moves inside each analysis"
    assert parts[-1] == pytest.approx(1)


def test_texts_are_escaped() -> None:
    attribution = hostile()
    page = Report(
        attribution.generation,
        attribution=attribution,
        faithfulness=faithful(attribution=attribution),
        factors=hostile_factors(),
        effects=tuple(effects(4)),
        refused={"probes": HOSTILE[0], "watched": HOSTILE[5]},
    ).to_html()
    read = Outline(page)
    assert not {"img", "i"} & set(read.tags)
    assert read.tags.count("script") == 3 * 2, "of three views: their data, and what draws it"
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert f"What does a layer know? {HOSTILE[0]}" in read.text
