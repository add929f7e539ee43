"""Tuned lenses: affine maps before the model's own tail, read from checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_samples import subject
from torch import Tensor

from ecco_captum import layer_predictions, rankings, rankings_watch
from ecco_captum.models.language_model import LanguageModel


def state_for(lm: LanguageModel, scale: float = 0.1) -> dict[str, Tensor]:
    """As TunedLens names them: one linear layer for each block's input."""
    width, blocks = lm.anatomy.stack.width, len(lm.anatomy.blocks)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for row in range(blocks):
        state[f"{row}.weight"] = scale * torch.randn(width, width, generator=generator)
        state[f"{row}.bias"] = scale * torch.randn(width, generator=generator)
    return state


def saved(state: dict[str, Tensor], folder: Path, **config: Any) -> Path:
    folder.mkdir()
    torch.save(state, folder / "params.pt")
    config = {"base_model_name_or_path": "x", "d_model": 32, "num_hidden_layers": 3, **config}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_states_are_mapped_before_the_tail(tmp_path: Path) -> None:
    lm, text = subject("causal:gpt2")
    state = state_for(lm)
    model: Any = lm.model
    with torch.no_grad():
        ids = torch.tensor(text.tokens.ids)[None, :-1]
        hidden = model(ids, output_hidden_states=True).hidden_states
        rows = []
        for row, states in enumerate(hidden[:-1]):
            mapped = states @ state[f"{row}.weight"].T + state[f"{row}.bias"] + states
            rows.append(model.lm_head(model.transformer.ln_f(mapped))[0])
    start = len(text.prompt_ids) - 1
    expected = torch.stack(rows)[:, start:].numpy()
    own = np.take_along_axis(expected, text.output_ids[None, :, None], axis=2)
    plain = rankings(lm, text)
    for lens in (state, saved(state, tmp_path / "lens"), str(tmp_path / "lens")):
        found = rankings(lm, text, lens=lens)
        np.testing.assert_array_equal(found.ranks[:-1], 1 + (expected > own + 1e-6).sum(axis=2))
        np.testing.assert_allclose(found.logits[:-1], own[..., 0], atol=1e-4)
        np.testing.assert_array_equal(found.logits[-1], plain.logits[-1])
    assert (found.lens, plain.lens) == ("tuned lens 'lens'", "logit lens")
    assert "tuned lens" in found.subtitle
    watched = rankings_watch(lm, text.prompt_ids, int(text.output_ids[0]), lens=state)
    np.testing.assert_array_equal(watched.ranks[:, 0], found.ranks[:, 0])
    first = layer_predictions(lm, text, len(text.prompt_ids), lens=state)
    np.testing.assert_array_equal(first.ranks, found.ranks[:, 0])


def test_the_identity_changes_nothing() -> None:
    lm, text = subject("seq2seq:t5")
    state = state_for(lm, scale=0.0)
    np.testing.assert_array_equal(rankings(lm, text, lens=state).ranks, rankings(lm, text).ranks)
    prefixed = {f"layer_translators.{name}": value for name, value in state.items()}
    prefixed["unembed.unembedding.weight"] = torch.zeros(2)
    whole = rankings(lm, text, lens=prefixed)
    np.testing.assert_array_equal(whole.ranks, rankings(lm, text).ranks)
    without = {name: value for name, value in state.items() if name.endswith("weight")}
    np.testing.assert_array_equal(rankings(lm, text, lens=without).ranks, rankings(lm, text).ranks)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    lm, text = subject("causal:gpt2")
    state = state_for(lm)
    small = {**state, "1.weight": torch.zeros(4, 4)}
    fewer = {name: value for name, value in state.items() if not name.startswith("2")}
    more = {**state, "3.weight": state["0.weight"]}
    odd = saved(state, tmp_path / "odd", lens_type="quadratic")

    def damaged(name: str, config: bytes, params: bytes) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes(config)
        (folder / "params.pt").write_bytes(params)
        return folder

    for lens, error, message in (
        (damaged("list", b"[]", b""), ValueError, "lens: .*list' could not be read"),
        (damaged("bad", b"{bad", b""), ValueError, "lens: .* could not be read .JSONDecodeError"),
        (damaged("empty", b"{}", b""), ValueError, "lens: .*empty' could not be read"),
        (damaged("junk", b"{}", b"junk" * 9), ValueError, "lens: .*junk' could not be read"),
        ({name: value.numpy() for name, value in state.items()}, TypeError, "map 0 is a ndarray"),
        ({**state, "1.bias": state["1.bias"] / 0}, ValueError, "map 1 has numbers that are not"),
        (3, TypeError, "lens: got a int, accepts the folder of a tuned lens"),
        (tmp_path, FileNotFoundError, "holds no config.json and no params.pt"),
        (small, ValueError, r"map 1 has shapes \(4, 4\) and \(32,\), accepts \(32, 32\)"),
        (fewer, ValueError, "accepts those of the 3 blocks of 'tiny gpt2'"),
        (more, ValueError, "was it trained for another model?"),
        (odd, ValueError, "is a 'quadratic', accepts a linear_tuned_lens"),
    ):
        with pytest.raises(error, match=message):
            rankings(lm, text, lens=lens)
