"""What rankings and layer predictions refuse, leave behind, and keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject
from model_state import state_of

import ecco_captum
from ecco_captum import Rankings, force_decode, layer_predictions, rankings, unembedding
from ecco_captum.models import LanguageModel


def test_where_a_tail_needs_the_whole_text_it_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, text = subject("causal:gpt2")
    expected = rankings(lm, text)
    tried = []
    attempt = unembedding._attempt

    def never_packed(run: Any, layers: Any, translators: Any, packed: bool) -> Any:
        tried.append(packed)
        return None if packed else attempt(run, layers, translators, packed)

    monkeypatch.setattr(unembedding, "_attempt", never_packed)
    found = rankings(lm, text)
    assert set(tried) == {True, False}
    np.testing.assert_array_equal(found.ranks, expected.ranks)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    monkeypatch.setattr(unembedding, "close_logits", lambda *_: False)
    with pytest.raises(RuntimeError, match=r"does not give the model's own logits"):
        rankings(lm, text)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_last_row_is_still_the_models_own(
    tiny_lm: Callable[..., LanguageModel], dtype: torch.dtype
) -> None:
    lm = tiny_lm("llama")
    lm.model.to(dtype)
    text = force_decode(lm, [5, 9, 6, 7], [8, 9, 30])
    found = rankings(lm, text)
    np.testing.assert_array_equal(found.ranks[-1], text.ranks)
    assert np.isfinite(found.divergence).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "ranks"}, "value: got 'ranks', accepts 'rank', 'logit', 'prob'"),
        ({"positions": "prompt"}, "positions: got 'prompt', accepts 'outputs', 'all'"),
        ({"layers": 99}, "layers: got 99, accepts a slice, a number or a list of numbers from 0 "),
        ({"layers": []}, r"layers: \[\] chooses none of the 4 layers"),
        ({"layers": "last"}, "layers: got 'last'"),
    ],
)
def test_errors_of_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rankings(*subject("causal:gpt2"), **options)


def test_other_errors(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm, text = subject("causal:gpt2")
    for position in (0, 9, -9, True, None, "last"):
        with pytest.raises(ValueError, match=r"position: got .*, accepts 1 to 8, or -8 to -1"):
            layer_predictions(lm, text, position)  # type: ignore[arg-type]
    for k in (0, True, 10**6):
        with pytest.raises(ValueError, match=r"k: got .*, accepts a whole number from 1 to"):
            layer_predictions(lm, text, -1, k=k)
    with pytest.raises(TypeError, match="is a classifier"):
        rankings(*subject("classification:bert"))
    with pytest.raises(TypeError, match="generation: got a str"):
        rankings(lm, "a text")  # type: ignore[arg-type]
    whole = tiny_lm("gpt2")
    anatomy = dataclasses.replace(whole.anatomy, lacks=(("lens", "none"),))
    lacking = ecco_captum.wrap(whole.model, whole.tokenizer, anatomy=anatomy)
    with pytest.raises(ValueError, match="gives no lens: none"):
        rankings(lacking, text)


def test_an_interrupted_control_leaves_the_model_as_it_was(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("gpt2")
    text = force_decode(lm, [5, 9, 6, 7], [8, 9])
    before = state_of(lm.model)

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecco_captum.unembedding.passage_logits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rankings(lm, text)
    assert state_of(lm.model) == before


def test_the_record_is_kept_and_told(tmp_path: Path) -> None:
    lm, text = subject("causal:gpt2")
    found = rankings(lm, text)
    again = Rankings.load(found.save(tmp_path / "ranks.npz"))
    assert again.top_texts == found.top_texts
    assert again.sentence == found.sentence
    table = found.to_pandas()
    assert len(table) == found.ranks.size
    row = table[(table.layer == 2) & (table.position == len(text.prompt_ids) + 1)].iloc[0]
    assert (row["rank"], row["name"]) == (found.ranks[2, 1], "block 1")
    assert row["shuffled_rank"] == np.asarray(found.shuffled_ranks)[2, 1]
    for column, first in enumerate(found.decided):
        stays = [layer for layer in range(4) if (found.ranks[layer:, column] == 1).all()]
        assert first == (min(stays) if stays else -1)
