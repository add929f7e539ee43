"""A report: every analysis of one text equals the analysis alone, and each tells of its test."""

from __future__ import annotations

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
from ecco_captum.models.language_model import LanguageModel

TEXT = "The keys to the cabinet are on the table"
KEYS = ["saliency", "similarity", "rankings", "watch", "factors", "probes"]


@pytest.fixture(scope="module")
def lm(tiny_lm: Callable[..., LanguageModel]) -> LanguageModel:
    return tiny_lm("gpt2")


@pytest.fixture(scope="module")
def found(lm: LanguageModel) -> Report:
    return report(lm, TEXT, max_new_tokens=8, n_components=3)


def test_every_analysis_equals_the_analysis_alone(lm: LanguageModel, found: Report) -> None:
    assert found.refused == {}
    generation = ecco_captum.generate(lm, TEXT, max_new_tokens=8)
    assert found.generation.output_ids.tolist() == generation.output_ids.tolist()
    alone = ecco_captum.saliency(lm, generation)
    np.testing.assert_allclose(found.attribution.scores, alone.scores, rtol=1e-5)  # type: ignore[union-attr]
    np.testing.assert_array_equal(
        found.rankings.ranks,  # type: ignore[union-attr]
        ecco_captum.rankings(lm, generation).ranks,
    )
    assert found.watched is not None
    assert found.watched.ranks[-1, 0] == 1, "greedy decoding chose the first token"
    assert found.order is not None
    leads = found.watched.logits[-1]
    assert found.order.lead == pytest.approx(leads[0] - max(leads[1:]), abs=1e-4)
    assert len(found.effects) == found.factors.count == 3  # type: ignore[union-attr]


def test_each_finding_holds_its_number_and_its_test(found: Report) -> None:
    assert [one.key for one in found.findings] == KEYS
    told = {one.key: one for one in found.findings}
    assert found.faithfulness is not None
    assert told["saliency"].outcome[1:] == found.faithfulness.sentence[1:]
    assert found.attribution is not None
    strongest = found.attribution.shares.max(axis=1).mean()
    assert f"{strongest:.1%}" in told["saliency"].answer
    assert found.order is not None
    assert f"(p = {found.order.probability:.3g}" in told["watch"].outcome.replace("0)", ")")
    assert found.probes is not None
    best = found.probes.accuracy.mean(axis=1).max()
    assert f"{best:.1%}" in told["probes"].answer
    table = found.to_pandas()
    assert table.index.tolist() == KEYS
    assert table["verdict"].isin(list(get_args(Verdict))).all()


def test_verdicts_follow_the_tests(found: Report) -> None:
    faithful, order = found.faithfulness, found.order
    assert faithful is not None
    assert order is not None
    for margin, verdict in (
        ([2, 1, 3], "supported"),
        ([-2, -3, -1], "not supported"),
        ([0, -1, 1], "inconclusive"),
    ):
        margins = np.array([margin] * len(faithful.margins), dtype=float)
        changed = replace(faithful, margins=margins, rank_correlation=0.1)
        tested = replace(found, faithfulness=changed)
        assert tested.findings[0].verdict == verdict
    same = replace(faithful, margins=np.ones_like(faithful.margins), rank_correlation=0.9)
    assert replace(found, faithfulness=same).findings[0].verdict == "partly supported"
    few = replace(faithful, outputs=faithful.outputs[:3], margins=faithful.margins + 100)
    assert replace(found, faithfulness=few).findings[0].verdict == "inconclusive"
    for shuffled, verdict in ((order.lead - 1, "supported"), (order.lead + 1, "inconclusive")):
        leads = np.full(39, shuffled)
        tested = replace(found, order=replace(order, shuffled=leads))
        assert tested.findings[3].verdict == verdict
    ranks = found.rankings
    assert ranks is not None
    assert ranks.shuffled_ranks is not None
    for prior, verdict in ((2, "supported"), (1, "not supported")):
        shuffled_ranks = np.full_like(ranks.shuffled_ranks, prior)
        tested = replace(found, rankings=replace(ranks, shuffled_ranks=shuffled_ranks))
        assert tested.findings[2].verdict == verdict


def test_it_is_one_page_and_one_file(found: Report, tmp_path: Path) -> None:
    page = found.to_html(tmp_path / "report.html")
    for one in found.findings:
        assert f'href="#ecco-{one.key}"' in page
        assert page.count(f'id="ecco-{one.key}"') == 1
    places = [page.index(f'id="ecco-{key}"') for key in KEYS]
    assert places == sorted(places)
    found.save(tmp_path / "report.npz")
    again = Report.load(tmp_path / "report.npz")
    assert again.to_html() == page


def test_what_a_model_does_not_allow_is_named() -> None:
    made = report(subject("classification:bert")[0], TEXT, n_components=2)
    assert {"rankings", "watched"} <= set(made.refused)
    assert "is a classifier" in made.refused["rankings"]
    assert made.attribution is not None
    page = made.to_html()
    assert "When does each token become the top prediction? " in page
    assert 'id="ecco-rankings"' not in page


def test_masked_models_and_encoder_decoders(tiny_lm: Callable[..., LanguageModel]) -> None:
    masked = report(tiny_lm("bert", "masked"), "The [MASK] to [MASK] cabinet", n_components=2)
    assert masked.watched is not None
    np.testing.assert_allclose(masked.watched.logits[-1, 0], masked.generation.logits[0], rtol=1e-4)
    assert masked.order is None
    told = {one.key: one for one in masked.findings}
    assert told["watch"].verdict == "inconclusive"
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


def test_it_tells_how_far_it_is(lm: LanguageModel) -> None:
    told: list[float] = []
    report(lm, TEXT, max_new_tokens=6, n_components=2, progress=told.append)
    assert told == pytest.approx([k / 6 for k in range(1, 7)])


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
    assert read.tags.count("script") == 2 + 2, "of two views: their data, and what draws it"
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert f"Skipped:What does a layer know? {HOSTILE[0]}" in read.text
