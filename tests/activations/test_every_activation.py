"""Neurons and hidden states of every architecture against what a plain patch of forward sees."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_models
import tiny_tokenizers
import torch
import transformers
from architectures import architectures
from torch import Tensor

from ecco_captum.activations.neurons import hidden_states, neurons
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

PROMPT, OUTPUTS = 5, 4
_TOO_LONG = "its own forward fails on a text of this length with so small a config"
BROKEN = {"causal:prophetnet": _TOO_LONG, "seq2seq:prophetnet": _TOO_LONG}


def written(lm: LanguageModel, seed: int) -> Generation:
    ids = np.random.default_rng(seed).integers(5, 80, PROMPT + OUTPUTS)[: lm.context_length]
    seq2seq = lm.is_encoder_decoder
    outputs = ids[PROMPT:] if seq2seq else ids[:0]
    prompt = ids[:PROMPT] if seq2seq else ids
    zeros = np.zeros(len(outputs), np.float32)
    start = np.array([3] if seq2seq else [], dtype=np.int64)
    tokens = Tokens(ids, tuple(map(str, ids)), len(prompt))
    task = "seq2seq" if seq2seq else "causal"
    return Generation(prompt, outputs, tokens, zeros, zeros, zeros, start, "tiny", {}, task)


def patched(lm: LanguageModel, names: set[str], text: Generation) -> dict[str, list[Any]]:
    """What each module is given and returns, execution after execution, in one plain forward."""
    seen: dict[str, list[Any]] = {name: [] for name in names}
    inputs = {"input_ids": torch.tensor(text.prompt_ids)[None]}
    if len(text.start_ids):
        decoded = np.concatenate([text.start_ids, text.output_ids])
        inputs["decoder_input_ids"] = torch.tensor(decoded)[None]
    with ExitStack() as contexts, torch.no_grad():
        for name in names:
            module = lm.model.get_submodule(name)

            def forward(*args: Any, original: Any, seen_by: list[Any], **kwargs: Any) -> Any:
                given = next(x for x in (*args, *kwargs.values()) if torch.is_tensor(x))
                given = given.clone()
                returned = original(*args, **kwargs)
                values = returned.values() if isinstance(returned, dict) else returned
                first = returned if torch.is_tensor(returned) else next(iter(values))
                seen_by.append((given, first.clone()))
                return returned

            bound = {"original": module.forward, "seen_by": seen[name]}
            replaced = lambda *a, bound=bound, forward=forward, **k: forward(*a, **bound, **k)  # noqa: E731
            contexts.enter_context(mock.patch.object(module, "forward", replaced))
        lm.model(**inputs, use_cache=False)
    return seen


def placed(tensor: Tensor, axes: tuple[int, ...], count: int, offset: int) -> np.ndarray:
    """(tokens, features) of one text."""
    tensor = tensor.permute(axes)
    tensor = tensor.reshape(1, -1, tensor.shape[-1]) if tensor.ndim == 2 else tensor
    start = offset if tensor.shape[1] > count else 0
    return tensor[0, start : start + count].flatten(1).numpy()


@pytest.mark.parametrize(("kind", "name"), architectures())
def test_equals_what_a_patched_forward_sees(kind: str, name: str) -> None:
    transformers.logging.set_verbosity_error()
    if f"{kind}:{name}" in BROKEN:
        pytest.skip(BROKEN[f"{kind}:{name}"])
    with warnings.catch_warnings():
        # Models speak up about their own configurations; this is about numbers.
        warnings.simplefilter("ignore")
        model = tiny_models.build(kind, name)
        lm = LanguageModel(model, tiny_tokenizers.byte_level(), name)
        if name.startswith("musicgen"):
            with pytest.raises(ValueError, match="does not run on plain token ids"):
                neurons(lm, [5, 6, 7])
            return
        texts = [written(lm, seed) for seed in (0, 1)]
        if lm.anatomy.reason("blocks"):
            with pytest.raises(ValueError, match="gives no blocks"):
                hidden_states(lm, texts)
            return
        for stack in ("decoder", "encoder") if lm.is_encoder_decoder else ("decoder",):
            check_stack(lm, texts, stack)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    # Texts that share a forward are summed in another order.
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, atol=1e-6 * scale)


def check_stack(lm: LanguageModel, texts: list[Generation], name: str) -> None:
    stack = lm.anatomy.stacks[0] if name == "encoder" else lm.anatomy.stack
    offset = stack.embedding.offset if stack.embedding is not None else 0
    sites = [site for block in stack.blocks for site in block.neurons]
    names = {site.module for site in (*sites, *stack.blocks)}
    seen = [patched(lm, names, text) for text in texts]
    before = model_state(lm.model)
    hidden = hidden_states(lm, texts, stack=name)
    assert model_state(lm.model) == before
    rows = [k for k, block in enumerate(stack.blocks) if block.neurons]
    widths = {sum(site.width for site in stack.blocks[k].neurons) for k in rows}
    if len(widths) > 1:
        with pytest.raises(ValueError, match="accepts layers of one width at a time"):
            neurons(lm, texts, stack=name)
        widest = max(widths)
        rows = [k for k in rows if sum(s.width for s in stack.blocks[k].neurons) == widest]
    if not rows:
        with pytest.raises(ValueError, match="gives no neurons"):
            neurons(lm, texts, stack=name)
    found = neurons(lm, texts, stack=name, layers=rows) if rows else None
    for number, calls in enumerate(seen):
        at = hidden.text(number)
        count = at.stop - at.start
        for k, block in enumerate(stack.blocks):
            returned = calls[block.module][block.call][1]
            expected = placed(returned, stack.axes, count, offset)
            close(hidden.values[k + 1, at], expected)
        if found is None:
            continue
        for row, k in enumerate(rows):
            parts = [
                placed(calls[site.module][site.call][0], site.axes, count, offset)
                for site in stack.blocks[k].neurons
            ]
            expected = np.concatenate(parts, axis=1)
            close(found.values[row, at], expected)
