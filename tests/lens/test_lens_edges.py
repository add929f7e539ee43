"""What rankings and layer predictions refuse, leave behind, and keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject

import ecco_captum
from ecco_captum import Rankings, force_decode, layer_predictions, rankings, rankings_watch
from ecco_captum.core.checks import SlowPathWarning, UnsupportedError
from ecco_captum.lens import unembedding
from ecco_captum.lens.unembedding import Translators
from ecco_captum.models.interventions import replay_tail
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state


def test_where_a_tail_needs_the_whole_text_it_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, text = subject("causal:gpt2")
    expected = rankings(lm, text)
    tried = []
    attempt = unembedding._attempt

    def never_packed(run: Any, layers: Any, translators: Any, packed: bool) -> Any:
        tried.append(packed)
        return None if packed else attempt(run, layers, translators, packed)

    monkeypatch.setattr(unembedding, "_attempt", never_packed)
    with pytest.warns(SlowPathWarning, match="the tail of 'tiny gpt2' depends on the whole text"):
        record = rankings(lm, text)
    assert set(tried) == {True, False}
    np.testing.assert_array_equal(record.ranks, expected.ranks)
    np.testing.assert_allclose(record.logits, expected.logits, atol=1e-5)
    monkeypatch.setattr(unembedding, "close_logits", lambda *_: False)
    message = "does not give the model's own logits"
    with pytest.warns(SlowPathWarning), pytest.raises(UnsupportedError, match=message):
        rankings(lm, text)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_last_row_is_still_the_models_own(
    tiny_lm: Callable[..., LanguageModel], dtype: torch.dtype
) -> None:
    lm = tiny_lm("llama")
    lm.model.to(dtype)
    text = force_decode(lm, [5, 9, 6, 7], [8, 9, 30])
    record = rankings(lm, text)
    np.testing.assert_array_equal(record.ranks[-1], text.ranks)
    assert np.isfinite(record.divergence).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "ranks"}, "value: got 'ranks', accepts 'rank', 'logit', 'prob'"),
        ({"positions": "prompt"}, "positions: got 'prompt', accepts 'outputs', 'all'"),
        ({"layers": 99}, "layers: got 99, accepts a slice, a number or a list of numbers from 0 "),
        ({"layers": []}, r"layers: \[\] chooses none, accepts some of 0 to 3"),
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
    with pytest.raises(UnsupportedError, match="is a classifier"):
        rankings(*subject("classification:bert"))
    with pytest.raises(TypeError, match="generation: got a str"):
        rankings(lm, "a text")  # type: ignore[arg-type]
    whole = tiny_lm("gpt2")
    anatomy = dataclasses.replace(whole.anatomy, lacks=(("lens", "none"),))
    lacking = ecco_captum.wrap(whole.model, whole.tokenizer, anatomy=anatomy)
    with pytest.raises(UnsupportedError, match="gives no lens: none"):
        rankings(lacking, text)


def test_an_interrupted_control_leaves_the_model_as_it_was(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("gpt2")
    text = force_decode(lm, [5, 9, 6, 7], [8, 9])
    before = model_state(lm.model)

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecco_captum.lens.unembedding.segment_logits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rankings(lm, text)
    assert model_state(lm.model) == before


def test_the_table_has_a_row_a_cell() -> None:
    lm, text = subject("causal:gpt2")
    record = rankings(lm, text)
    table = record.to_pandas()
    assert len(table) == record.ranks.size
    row = table[(table.layer == 2) & (table.position == len(text.prompt_ids) + 1)].iloc[0]
    assert (row["rank"], row["name"]) == (record.ranks[2, 1], "block 1")
    assert row["shuffled_rank"] == np.asarray(record.shuffled_ranks)[2, 1]
    for column, first in enumerate(record.decided):
        stays = [layer for layer in range(4) if (record.ranks[layer:, column] == 1).all()]
        assert first == (min(stays) if stays else -1)


def test_a_single_token_cannot_be_shuffled(tiny_lm: Callable[..., LanguageModel]) -> None:
    for lm in (tiny_lm("gpt2"), tiny_lm("t5", "seq2seq")):
        prompt = [5] if lm.name == "tiny gpt2" else [5, 9, 6]
        record = rankings(lm, force_decode(lm, prompt, [8]))
        assert record.shuffled_ranks is None
        assert "shuffled" not in record.sentence
        longer = rankings(lm, force_decode(lm, prompt, [8, 9]))
        assert (np.asarray(longer.shuffled_ranks)[1:] != longer.ranks[1:]).any()


def test_no_number_is_ranked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, text = subject("causal:gpt2")
    width = lm.anatomy.stack.width
    nan = torch.full((width, width), float("nan"))
    overflowing = Translators({1: (nan, torch.zeros(width))})
    for module in ("rankings", "watch"):
        patched = f"ecco_captum.lens.{module}.read_translators"
        monkeypatch.setattr(patched, lambda *_: overflowing)
    message = "lm: the logits that layer 1 of 'tiny gpt2' would give are NaN"
    with pytest.raises(ValueError, match=message):
        rankings(lm, text)
    with pytest.raises(ValueError, match=message):
        layer_predictions(lm, text, -1)
    with pytest.raises(ValueError, match=message):
        rankings_watch(lm, text, 5)


def test_few_logits_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, text = subject("causal:gpt2")
    held = []

    def counting(*arguments: Any) -> Any:
        logits = replay_tail(*arguments)
        held.append(logits.numel())
        return logits

    monkeypatch.setattr(unembedding, "replay_tail", counting)
    row = lm.vocabulary_size * len(text.output_ids)
    for most in (row, 2 * row, 3 * row):
        held.clear()
        monkeypatch.setattr(unembedding, "_LOGITS_AT_ONCE", most)
        rankings(lm, text, control=False)
        assert max(held) == most
        assert sum(held) == 4 * row


def test_equal_logits_have_the_same_rank(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[9] = lm.model.get_output_embeddings().weight[8]
    text = force_decode(lm, [5, 9, 6, 7], [8])
    record = rankings_watch(lm, [5, 9, 6, 7], [8, 9])
    np.testing.assert_array_equal(record.ranks[1:, 0], record.ranks[1:, 1])
    assert record.crossings == -1
    assert "are level at block 2" in record.sentence
    np.testing.assert_array_equal(layer_predictions(lm, text, -1).ranks, record.ranks[:, 0])
    np.testing.assert_array_equal(rankings(lm, text).ranks[:, 0], record.ranks[:, 0])


def test_dropout_is_off_whatever_the_mode(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    text = force_decode(lm, [5, 9, 6, 7], [8, 9])
    for run in (
        lambda: rankings(lm, text).shuffled_ranks,
        lambda: layer_predictions(lm, text, np.int64(-1), k=np.int64(3)).probs,
        lambda: rankings_watch(lm, text, 5).logits,
    ):
        expected = run()
        before = model_state(lm.model.train())
        np.testing.assert_array_equal(run(), expected)
        assert model_state(lm.model) == before
        lm.model.eval()


def test_sentences_of_some_layers_name_them() -> None:
    lm, text = subject("causal:gpt2")
    record = rankings(lm, text, layers=[0], control=False)
    first = int((record.ranks[0] == 1).sum()) or "none"
    assert record.sentence == f"The embedding ranks {first} of 4 tokens first."
    last = rankings_watch(lm, text, [5, 9], layers=[-1])
    assert " is ahead at block 2; block 2 ranks it " in last.sentence
    last = layer_predictions(lm, text, -1, layers=[-1])
    assert last.sentence.endswith("first by block 2.") == (last.ranks[0] == 1)


def ranked(ranks: Any, shuffled: Any = None) -> Rankings:
    """A record of given ranks; of all else nothing."""
    _, text = subject("causal:gpt2")
    ranks = np.array(ranks)
    zeros = np.zeros(ranks.shape, np.float32)
    columns = np.arange(ranks.shape[1])
    others = (zeros, zeros, ranks * 0, zeros, zeros, zeros)
    shuffled = None if shuffled is None else np.array(shuffled)
    layers = np.arange(len(ranks))
    return Rankings(text, layers, columns + 5, columns, ranks, *others, shuffled, {"0": "a"})


def test_what_the_sentence_says_of_ranks() -> None:
    ranks = [[9, 9, 9, 1], [1, 9, 9, 7], [1, 1, 9, 7], [1, 1, 1, 7]]
    shuffled = [[9] * 4, [9] * 4, [1, 9, 9, 9], [1, 1, 9, 9]]
    assert ranked(ranks, shuffled).sentence == (
        "Block 2 ranks 3 of 4 tokens first; the median one of them stays first from block 1 on, "
        "which ranks 2 first. With every block's output shuffled across tokens, block 1 ranks 1 "
        "first and block 2 2: those are predicted whatever the text says."
    )
    assert ranked([[5], [1]], [[5], [7]]).sentence == (
        "Block 0 ranks 1 of 1 token first. With every block's output shuffled across tokens, "
        "block 0 ranks none first."
    )
    assert ranked([[5, 6], [2, 3]], [[1, 1], [1, 4]]).sentence == (
        "Block 0 ranks none of 2 tokens first. With every block's output shuffled across "
        "tokens, block 0 ranks 1 first: those are predicted whatever the text says."
    )
    assert ranked([[1, 2]]).sentence == "The embedding ranks 1 of 2 tokens first."
