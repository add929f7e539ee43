"""How far two attributions of one text agree, against the statistics written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from method_samples import fresh_subject, rows_of, subject

from ecco_captum import Attribution, force_decode, saliency
from ecco_captum.attribution.record import compared, rank_correlation


@pytest.fixture(scope="module")
def pair() -> tuple[Attribution, Attribution]:
    lm, generation = subject("causal:gpt2")
    return saliency(lm, generation), saliency(lm, generation, method="feature_ablation")


def spearman(first: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of average ranks."""
    ranks = [scipy.stats.rankdata(values) for values in (first, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_numbers_written_out(pair: tuple[Attribution, Attribution]) -> None:
    comparison = pair[0].compare(pair[1])
    for t, (first, other) in enumerate(zip(rows_of(pair[0]), rows_of(pair[1]), strict=True)):
        first, other = np.abs(first), np.abs(other)
        assert comparison.rank_correlation[t] == pytest.approx(spearman(first, other))
        count = min(5, len(first))
        strongest = [set(np.argsort(values)[-count:]) for values in (first, other)]
        assert comparison.overlap[t] == pytest.approx(len(strongest[0] & strongest[1]) / count)


def test_with_itself_and_the_other_way_round(pair: tuple[Attribution, Attribution]) -> None:
    itself = pair[0].compare(pair[0])
    np.testing.assert_allclose(itself.rank_correlation, 1)
    np.testing.assert_array_equal(itself.overlap, 1)
    there, back = compared(*pair), compared(*pair[::-1])
    np.testing.assert_allclose(there.rank_correlation, back.rank_correlation)
    np.testing.assert_array_equal(there.overlap, back.overlap)


def test_signs_and_scales_do_not_matter(pair: tuple[Attribution, Attribution]) -> None:
    other = replace(pair[0], scores=-3 * pair[0].scores)
    comparison = pair[0].compare(other)
    np.testing.assert_allclose(comparison.rank_correlation, 1)
    np.testing.assert_array_equal(comparison.overlap, 1)


def test_correlation_where_it_is_not_defined() -> None:
    assert np.isnan(rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert rank_correlation(np.arange(4.0), np.arange(4.0)[::-1]) == pytest.approx(-1)
    lm, _ = subject("causal:gpt2")
    short = saliency(lm, force_decode(lm, [5], [6]))
    comparison = short.compare(short)
    assert np.isnan(comparison.rank_correlation).all()
    np.testing.assert_array_equal(comparison.overlap, 1)
    assert "nan" in repr(comparison)


def test_labels_say_what_differs(pair: tuple[Attribution, Attribution]) -> None:
    lm, generation = subject("causal:gpt2")
    assert pair[0].compare(pair[1]).labels == ("gradient × input", "feature ablation")
    other = saliency(lm, generation, score="prob")
    left, right = pair[0].compare(other).labels
    assert left != right
    assert "prob" in right
    renamed = replace(pair[0], generation=replace(generation, model="another"))
    assert pair[0].compare(renamed).labels == ("tiny gpt2", "another")


def test_a_table_with_one_row_an_output(pair: tuple[Attribution, Attribution]) -> None:
    comparison = pair[0].compare(pair[1])
    table = comparison.to_pandas()
    assert list(table) == ["output", "token", "rank_correlation", "overlap"]
    assert table["token"].tolist() == list(pair[0].tokens.texts[pair[0].tokens.prompt_length :])
    np.testing.assert_array_equal(table["overlap"], comparison.overlap)
    assert "gradient × input | feature ablation, 4 outputs" in repr(comparison)


@pytest.mark.parametrize("name", ["seq2seq:t5", "masked:bert", "classification:bert"])
def test_other_tasks(name: str) -> None:
    lm, generation = subject(name)
    comparison = saliency(lm, generation).compare(saliency(lm, generation, method="saliency"))
    assert len(comparison.overlap) == len(generation.output_ids)
    assert (comparison.overlap > 0).all()


def test_two_models_word_by_word() -> None:
    text = "The keys to", " the cabinet"
    models = [subject(name)[0] for name in ("causal:gpt2", "causal:qwen3")]
    left, right = (saliency(lm, force_decode(lm, *text)).by_word() for lm in models)
    comparison = left.compare(right)
    assert len(comparison.overlap) == len(left.scores)
    assert comparison.labels == ("tiny gpt2", "tiny qwen3")


def test_errors(pair: tuple[Attribution, Attribution]) -> None:
    lm, generation = subject("causal:gpt2")
    with pytest.raises(TypeError, match="other: got a str, accepts an Attribution"):
        pair[0].compare("saliency")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="other: it explains other outputs"):
        pair[0].compare(saliency(lm, generation, outputs=[0]))
    ids = generation.prompt_ids.copy()
    ids[2] = 20
    other = saliency(lm, force_decode(lm, ids, generation.output_ids))
    with pytest.raises(ValueError, match="other: its tokens differ from position 2 on"):
        pair[0].compare(other)
    longer = force_decode(lm, generation.prompt_ids, [*generation.output_ids, 7])
    with pytest.raises(ValueError, match="other: its tokens differ"):
        pair[0].compare(saliency(lm, longer))
    bert, text = fresh_subject("masked:bert")
    with pytest.raises(ValueError, match="other: its tokens differ from position 0 on"):
        pair[0].compare(saliency(bert, text))
