"""Probes of states that are at hand, description lengths, and runs that are taken up again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject
from probing_samples import corpus_of, quick

from ecco_captum import ProbeReport, hidden_states, neurons, probe
from ecco_captum.probing import probe as probing
from ecco_captum.probing.probe import ProbeOptions
from ecco_captum.probing.training import LabelledWords, Training, codelength, make_trial

TYPES = 40


def zipfian(count: int = 1500, seed: int = 0) -> np.ndarray:
    """Types of words, few of them frequent."""
    rng = np.random.default_rng(seed)
    return rng.choice(TYPES, size=count, p=(odds := 1 / np.arange(1, TYPES + 1)) / odds.sum())


def given(states: Any, labels: Any, **change: Any) -> ProbeReport:
    options = {"trials": 3, "epochs": 30, "learning_rates": (0.1, 1e-2), "progress": False}
    return probe(states, labels, **{**options, **change})


def test_identities_of_words_give_the_ceiling_of_types_and_little_selectivity() -> None:
    types = zipfian()
    rng = np.random.default_rng(1)
    usual = rng.integers(4, size=TYPES)
    labels = np.where(rng.random(len(types)) < 0.85, usual[types], rng.integers(4, size=len(types)))
    words = [f"w{k}" for k in types]
    report = given(np.eye(TYPES, dtype=np.float32)[types], labels.tolist(), words=words)
    np.testing.assert_allclose(report.accuracy.mean(), report.by_type.mean(), atol=0.02)
    assert report.control_accuracy.min() > 0.95, "a type's control label is learned by heart"
    assert report.selectivity.mean() < 0.0


def test_random_labels_have_no_selectivity() -> None:
    rng = np.random.default_rng(0)
    types = zipfian()
    states = rng.standard_normal((TYPES, 24))[types] + 0.1 * rng.standard_normal((1500, 24))
    labels = rng.integers(3, size=TYPES)[types].tolist()  # a task that is itself a control task
    report = given(states, labels, words=[f"w{k}" for k in types], trials=6)
    mean, apart = report.selectivity.mean(), report.selectivity.std(ddof=1) / np.sqrt(6)
    assert abs(mean) <= 2.6 * apart + 0.01, (mean, apart)


def test_arrays_activations_and_models_agree(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 40)
    lm, _ = subject("causal:gpt2")
    texts = [lm.tokenizer(s.text)["input_ids"] for s in corpus.sentences]
    acts = [read(lm, texts, progress=False) for read in (hidden_states, neurons)]
    tags = ["A" if k % 3 else None for k in range(acts[0].shape[1])]
    tags[1::3] = ["B"] * len(tags[1::3])
    one = given(acts, tags, layers=[0, 1])
    assert one.representations == ("hidden", "hidden", "neurons", "neurons")
    assert one.layers == ("embedding", "block 0", "block 0", "block 1")
    assert one.words == sum(tag is not None for tag in tags)
    arrays = acts[0].values[:2]
    for same in (arrays, torch.from_numpy(arrays.copy())):
        other = given(same, tags, words=acts[0].tokens.texts)
        np.testing.assert_array_equal(other.accuracy, one.accuracy[:2])
        np.testing.assert_array_equal(other.control_accuracy, one.control_accuracy[:2])
        assert other.layers == ("layer 0", "layer 1")
    flat = given(arrays[1], tags, words=acts[0].tokens.texts)
    np.testing.assert_array_equal(flat.accuracy[0], one.accuracy[1])
    split = given(acts, tags, split="sentence", layers=0)
    assert split.settings["split"] == "sentence"


@pytest.mark.parametrize(
    ("states", "labels", "change", "error", "message"),
    [
        ("gpt2", ["A"], {}, TypeError, "lm: got a str, accepts what load"),
        (np.zeros(4), ["A"] * 4, {}, ValueError, r"lm: got an array of shape \(4,\)"),
        (np.full((4, 2), np.nan), ["A"] * 4, {}, ValueError, "lm: got NaN or infinity"),
        (np.zeros((9, 2)), ["A"] * 8, {}, ValueError, "corpus: got 8, accepts one for each of 9"),
        (np.zeros((9, 2)), [None] * 9, {}, ValueError, "corpus: got no label"),
        (np.zeros((9, 2)), ["A", "B", "C"] * 3, {}, ValueError, "words: got none, accepts"),
        (
            np.zeros((9, 2)),
            ["A"] * 9,
            {"words": ["a"] * 9, "split": "sentence"},
            ValueError,
            "sentences: got none, accepts",
        ),
        (np.zeros((9, 2)), ["A"] * 9, {"words": ["a"]}, ValueError, "words: got 1, accepts one"),
        ([np.zeros((9, 2)), np.zeros((8, 2))], ["A"], {}, ValueError, r"lm: got states of \[8, 9"),
    ],
)
def test_wrong_states(states: Any, labels: Any, change: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        given(states, labels, **change)


def online(x: torch.Tensor, labels: np.ndarray, order: np.ndarray, ends: list[int]) -> float:
    """The code of one trial and task by PyTorch's own parts, at one rate."""
    bits, truth = ends[0] * np.log2(3), torch.from_numpy(labels)
    for start, end in pairwise(ends):
        generator = torch.Generator().manual_seed(0)
        first = (torch.rand(x.shape[1] + 1, 3, generator=generator) * 2 - 1) * x.shape[1] ** -0.5
        probe_of = torch.nn.Linear(x.shape[1], 3)
        probe_of.weight.data, probe_of.bias.data = first[:-1].T.contiguous(), first[-1]
        optimizer = torch.optim.Adam(probe_of.parameters(), lr=0.05)
        learned = torch.from_numpy(order[:start])
        for _ in range(8):
            for words in learned[torch.randperm(start, generator=generator)].split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(probe_of(x[words]), truth[words]).backward()
                optimizer.step()
        block = torch.from_numpy(order[start:end])
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(probe_of(x[block]), truth[block])
        bits += float(loss) * len(block) / np.log(2)
    return float(bits)


def test_a_code_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=1000)
    x = torch.from_numpy(rng.standard_normal((3, 6))[labels] + rng.standard_normal((1000, 6)))
    words = LabelledWords(None, labels, ("a", "b", "c"), None)
    options = ProbeOptions(learning_rates=(0.05,), epochs=8, control=None, codelength=True)
    draw = make_trial(words, options, (0, 0))
    training = Training(3, options, 0)
    found = codelength(x.float(), [draw], training, lambda: None)
    ends = [1, 2, 4, 8, 16, 32, 62, 125, 250, 500, 1000]
    assert found.shape == (1, 1)
    np.testing.assert_allclose(found[0, 0], online(x.float(), labels, draw.order, ends), rtol=1e-4)


def test_codes_tell_structure_from_memory() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=2000)
    train_and_evaluate = rng.standard_normal((4, 16))[labels] * 2 + rng.standard_normal((2000, 16))
    words = [f"w{k}" for k in rng.integers(300, size=2000)]
    report = given(train_and_evaluate, labels.tolist(), words=words, codelength=True)
    assert report.codelength is not None
    assert report.codelength.shape == (1, 3, 2)
    uniform = 2000 * 2
    task, control = report.codelength.mean(axis=1)[0]
    assert task < 0.35 * uniform
    assert 0.9 * uniform < control < 1.35 * uniform, "nothing to tell costs the labels themselves"
    np.testing.assert_allclose(report.compression[0], uniform / report.codelength[0, :, 0])
    frame = report.to_pandas()
    assert frame.codelength[0] == pytest.approx(task)
    assert frame.control_codelength[0] == pytest.approx(control)
    assert f"{task / 1000:.2f}" in report.to_html()
    assert "Codelength (kbit)" in report.to_latex()
    bare = given(train_and_evaluate, labels.tolist(), control=False)
    assert "codelength" not in bare.to_pandas()
    with pytest.raises(ValueError, match="codelength: was not measured"):
        _ = bare.compression


def test_a_run_is_taken_up_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, kept = corpus_of(tmp_path, 40), tmp_path / "kept"
    whole = quick(corpus, epochs=2)
    trained: list[int] = []
    train_and_evaluate = probing.train_and_evaluate

    def broken(x: torch.Tensor, *rest: Any) -> Any:
        trained.append(x.shape[1])
        if x.shape[1] > 32:  # the neurons
            raise KeyboardInterrupt
        return train_and_evaluate(x, *rest)

    monkeypatch.setattr(probing, "train_and_evaluate", broken)
    with pytest.raises(KeyboardInterrupt):
        quick(corpus, epochs=2, checkpoint=kept)
    assert [path.name for path in kept.iterdir()] == ["hidden.npz"]
    monkeypatch.setattr(probing, "train_and_evaluate", train_and_evaluate)
    rest = quick(corpus, epochs=2, checkpoint=kept)
    for field in ("accuracy", "control_accuracy", "confusion", "rates", "by_type"):
        np.testing.assert_array_equal(getattr(rest, field), getattr(whole, field))
    assert (rest.layers, rest.settings) == (whole.layers, whole.settings)
    monkeypatch.setattr(probing, "train_and_evaluate", broken)
    again = quick(corpus, epochs=2, checkpoint=kept)  # nothing is trained
    np.testing.assert_array_equal(again.accuracy, whole.accuracy)
    for change in ({"epochs": 3}, {"trials": 2}, {"seed": 1}, {"layers": [0]}):
        with pytest.raises(ValueError, match=r"checkpoint: .*hidden\.npz' is of another run"):
            quick(corpus, **{"epochs": 2, "checkpoint": kept, **change})
