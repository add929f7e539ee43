"""Probes of layers: what they predict, what they memorise, how words are split, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from method_samples import subject
from probing_samples import corpus_of, quick, written

from ecco_captum import ProbeReport, TaggedCorpus, probe, read_conllu
from ecco_captum.probing import sources as probe_sources
from ecco_captum.probing.probe import ProbeOptions
from ecco_captum.probing.training import LabelledWords, by_type, level, majority, make_trial


def test_a_report_of_every_layer(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    report = quick(corpus)
    lm, _ = subject("causal:gpt2")
    blocks = len(lm.anatomy.blocks)
    assert report.representations == ("hidden",) * (blocks + 1) + ("neurons",) * blocks
    assert report.layers[:2] == ("embedding", "block 0")
    assert report.accuracy.shape == report.control_accuracy.shape == (2 * blocks + 1, 3)
    assert report.labels == ("DET", "NOUN", "VERB")
    assert report.words == 480
    tested = round(0.33 * 480)
    assert (report.confusion.sum(axis=(1, 2)) == 3 * tested).all()
    right = np.diagonal(report.confusion, axis1=1, axis2=2).sum(axis=1) / (3 * tested)
    np.testing.assert_allclose(report.accuracy.mean(axis=1), right)
    np.testing.assert_allclose(report.selectivity, report.accuracy - report.control_accuracy)
    # Types give everything away, so the embedding is enough, and the control task, too.
    assert report.accuracy[0].min() > 0.99
    assert report.control_accuracy[0].min() > 0.99
    assert report.by_type.min() > 0.99
    assert report.majority.mean() == pytest.approx(0.5, abs=0.06)


def test_random_labels_are_not_predicted_and_no_better_than_their_control(tmp_path: Path) -> None:
    plain = corpus_of(tmp_path, 200)
    rng = np.random.default_rng(1)
    text = (tmp_path / "some.conllu").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in text]
    drawn_tags = [
        "\t".join([*row[:3], str(rng.choice(["A", "B", "C"])), *row[4:]]) if len(row) > 1 else ""
        for row in rows
    ]
    report = quick(read_conllu(written(tmp_path, "\n".join(drawn_tags) + "\n")), control="token")
    assert plain.words == report.words
    assert np.abs(report.selectivity.mean(axis=1)).max() < 0.09
    assert report.accuracy.mean() < 0.45


def test_a_seed_gives_the_same_again(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 60)
    given = {"layers": [0], "representations": ["hidden"], "epochs": 3}
    first, same, other = (quick(corpus, seed=seed, **given) for seed in (0, 0, 1))
    for field in ("accuracy", "control_accuracy", "confusion", "rates"):
        np.testing.assert_array_equal(getattr(first, field), getattr(same, field))
    assert (first.confusion != other.confusion).any()


def test_the_rate_is_chosen_where_it_says(tmp_path: Path) -> None:
    given = {"layers": [1], "representations": ["hidden"], "learning_rates": (1e-5, 0.05, 3e-4)}
    corpus = corpus_of(tmp_path)
    best = quick(corpus, select="test", **given).accuracy
    fair = quick(corpus, select="validation", **given)
    assert (best >= fair.accuracy).all()
    assert set(fair.rates.ravel()) <= {1e-5, 0.05, 3e-4}
    assert (fair.rates[:, :, 0] == 0.05).all(), "the others have not learned anything in 20 epochs"


def test_without_a_control_task(tmp_path: Path) -> None:
    given = {"layers": [0], "representations": ["hidden"], "control": False, "epochs": 2}
    report = quick(corpus_of(tmp_path, 40), **given)
    assert np.isnan(report.control_accuracy).all()
    assert report.rates.shape == (1, 3, 1)
    assert "Without a control task" in report.sentence
    assert "selectivity" not in report.to_html().split("<script")[0]
    assert "--" in report.to_latex()


def labelled(corpus: TaggedCorpus) -> LabelledWords:
    words = [word for sentence in corpus.sentences for word in sentence.words]
    tags = [tag for sentence in corpus.labels("upos") for tag in sentence]
    return LabelledWords.of(words, tags, np.repeat(np.arange(len(corpus)), 4))


@pytest.mark.parametrize("split", ["token", "sentence"])
def test_no_word_is_on_two_sides(tmp_path: Path, split: str) -> None:
    words = labelled(corpus_of(tmp_path))
    options = ProbeOptions(split=split)
    draws = [make_trial(words, options, (0, trial)) for trial in range(4)]
    for draw in draws:
        parts = [draw.train, draw.validation, draw.test]
        assert sorted(np.concatenate(parts)) == list(range(480))
        assert len(draw.test) == pytest.approx(158, abs=4)
        assert len(draw.validation) == pytest.approx(32, abs=4)
        np.testing.assert_array_equal(draw.targets[0], words.labels)
        if split == "sentence":
            held = [set(np.asarray(words.sentences)[part]) for part in parts]
            assert sum(map(len, held)) == len(set().union(*held))
    assert any((draws[0].test != draw.test).any() for draw in draws[1:])
    sizes = {(len(d.train), len(d.validation), len(d.test)) for d in level(draws)}
    assert len(sizes) == 1


def test_baselines_by_hand(tmp_path: Path) -> None:
    words = labelled(corpus_of(tmp_path, 30))
    draw = make_trial(words, ProbeOptions(test_size=0.4, control=None), (0, 0))
    names = np.array(words.names)[words.labels]
    assert majority(words, draw) == pytest.approx((names[draw.test] == "NOUN").mean())
    forms = words.forms or []
    seen = {forms[k] for k in draw.train}
    right = [names[k] == "NOUN" if forms[k] not in seen else True for k in draw.test]
    assert by_type(words, draw) == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": "pos"}, ValueError, "label: got 'pos', accepts form, lemma, upos"),
        (
            {"representations": "hidden"},
            ValueError,
            "representations: got 'hidden'",
        ),
        ({"representations": ["heads"]}, ValueError, "representations: got 'heads', accepts"),
        ({"trials": 0}, ValueError, "trials: got 0"),
        ({"test_size": 1}, ValueError, "test_size: got 1, accepts a part between 0 and 1"),
        ({"learning_rates": ()}, ValueError, r"learning_rates: got \(\), accepts numbers above 0"),
        ({"learning_rates": (0.1, 0)}, ValueError, "learning_rates: got"),
        ({"control": "word"}, ValueError, "control: got 'word', accepts 'type', 'token'"),
        ({"split": "text"}, ValueError, "split: got 'text', accepts 'token', 'sentence'"),
        ({"select": "train"}, ValueError, "select: got 'train', accepts"),
        ({"pooling": "max"}, ValueError, "pooling: got 'max', accepts 'first', 'last', 'mean'"),
        ({"n_tokens": 1}, ValueError, "test_size: 0 of 1 words are left to test on"),
        ({"n_tokens": 6, "split": "sentence"}, ValueError, "split: there are too few sentences"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"layers": [99]}, ValueError, r"layers: got \[99\], accepts a slice"),
    ],
)
def test_wrong_input(tmp_path: Path, change: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        quick(corpus_of(tmp_path, 10), **change)


def test_a_corpus_is_wanted() -> None:
    lm, _ = subject("causal:gpt2")
    with pytest.raises(TypeError, match="corpus: got a list, accepts what read_conllu"):
        probe(lm, [])  # type: ignore[arg-type]


def test_a_model_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="lm: got a str, accepts what load"):
        probe("gpt2", corpus_of(tmp_path, 10))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ProbeReport:
    return quick(corpus_of(tmp_path_factory.mktemp("c"), 60), layers=slice(0, 2))


def test_tables_have_means_and_deviations(report: ProbeReport) -> None:
    frame = report.to_pandas()
    assert frame.accuracy.tolist() == report.accuracy.mean(axis=1).tolist()
    assert frame.selectivity_sd.tolist() == report.selectivity.std(axis=1).tolist()
    accuracy = report.accuracy[1]
    cell = rf"hidden & block 0 & ${100 * accuracy.mean():.1f} \pm {100 * accuracy.std():.1f}$"
    assert cell in report.to_latex()
    assert report.recall.shape == (4, 3)
    assert np.nanmax(report.recall) <= 1


def test_nothing_is_trained_where_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **options: Any) -> Callable[..., Any]:
        raise AssertionError("the model was run")

    monkeypatch.setattr(probe_sources, "READERS", {"hidden": never, "neurons": never})
    with pytest.raises(ValueError, match="select: got"):
        quick(corpus_of(tmp_path, 10), select="best")
