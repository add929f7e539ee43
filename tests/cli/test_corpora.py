"""The commands over a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

import ecco_captum
from ecco_captum import cli

TEXTS = ["The keys", "A dog sleeps", "", "The keys to the cabinet"]


@pytest.fixture
def texts(folder: Path) -> str:
    pandas.DataFrame({"id": list("abcd"), "text": TEXTS}).to_json(
        folder / "texts.jsonl", orient="records", lines=True
    )
    return str(folder / "*.jsonl")


def test_a_corpus_is_captured(
    model: str, texts: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    words = ["capture", "--model", model, "--input", texts, "--id-column", "id"]
    words += ["--hidden-states", "all", "--neurons=-1", "--values", "float32", "--store", "acts"]
    assert cli.main([*words, "--price"]) == 0
    said = capsys.readouterr().out
    assert "bytes on disk" in said
    assert not Path("acts").exists()
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    assert "4 texts in 1 parts" in printed.out
    assert "left out or renamed: c: it is blank" in printed.err
    made = ecco_captum.Captured.open("acts")
    expected = ecco_captum.hidden_states(ecco_captum.load(model), TEXTS[:2], progress=False)
    count = len(expected.tokens)
    np.testing.assert_allclose(
        made.hidden_states.values[:, :count], expected.values, rtol=1e-5, atol=1e-5
    )
    assert made.neurons.layers.tolist() == [2]
    assert cli.main([*words[:3], *words[7:]]) == 0, "without --input, it goes on with its texts"


def test_factors_and_similarity_of_a_folder(model: str, texts: str, folder: Path) -> None:
    words = ["capture", "--model", model, "--input", texts, "--id-column", "id", "--values"]
    assert cli.main([*words, "float32", "--neurons", "all", "--store", "acts"]) == 0
    assert cli.main(["nmf", "acts", "--components", "2", "-o", "factors.npz"]) == 0
    acts = ecco_captum.Activations.open("acts")
    expected = ecco_captum.nmf(acts, 2, negatives="split")
    np.testing.assert_array_equal(ecco_captum.Factors.load("factors.npz").weights, expected.weights)
    assert cli.main(["compare", "acts", "--draws", "9", "-o", "same.npz"]) == 0
    assert ecco_captum.Similarity.load("same.npz").values.shape == (3, 3)


@pytest.mark.parametrize("analysis", ["rankings", "saliency"])
def test_an_analysis_of_each_text(analysis: str, model: str, texts: str, folder: Path) -> None:
    words = ["map", analysis, "--model", model, "--input", texts, "--id-column", "id"]
    assert cli.main([*words, "--store", "tables"]) == 0
    tables = ecco_captum.TextTables.open("tables")
    lm = ecco_captum.load(model)
    generation = ecco_captum.generate(lm, TEXTS[1], max_new_tokens=1, progress=False)
    record = (
        ecco_captum.rankings(lm, generation)
        if analysis == "rankings"
        else ecco_captum.saliency(lm, generation, progress=False)
    )
    table = tables.to_pandas()
    own = table[table["id"] == "b"].drop(columns="id").reset_index(drop=True)
    # Where another text has no such number, whole ones become floats.
    pandas.testing.assert_frame_equal(own, record.to_pandas(), check_dtype=False)


def test_a_function_of_ones_own(
    model: str, texts: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text("def letters(lm, text):\n    return {'letters': len(text)}\n")
    monkeypatch.syspath_prepend(str(folder))
    words = ["map", "mine:letters", "--model", model, "--input", texts, "--store", "out"]
    assert cli.main(words) == 0
    table = ecco_captum.TextTables.open("out").to_pandas()
    assert table["letters"].tolist() == [len(text) for text in TEXTS]
    assert table["id"][0].endswith("texts.jsonl:1")
