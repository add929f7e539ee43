r"""Does a position of a model see only what is before it?

Then one forward over a whole text gives the same logits as one forward over each of its prefixes,
and many outputs can share it. Some models that can generate do look ahead (an encoder used as a
language model, a sparse attention that ranks all positions): for them each output needs a forward
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ecco_captum.models.anatomy.verify import TEXTS, tiny_prompt
from ecco_captum.models.interventions import first_tensor
from ecco_captum.models.language_model import LanguageModel, keep_last
from ecco_captum.models.modes import evaluation_mode, has_hooks, on_test_texts
from ecco_captum.models.positions import position_limit

_FOUND: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
_TOGETHER: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()

# The latest text of each model and what was found: an analysis asks again about the text that was
# generated just before.
_LATEST: WeakKeyDictionary[PreTrainedModel, tuple[object, bool]] = WeakKeyDictionary()

# Logits held at once, in numbers: 64 M are 256 MB in float32.
_LOGITS_AT_ONCE = 64 * 2**20


# How far two orders of summation may drift apart, relative to the logits' spread.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}


def is_causal(model: PreTrainedModel) -> bool:
    """Whether logits over a text equal those over its prefixes; tried once per model."""
    if model not in _FOUND:
        position_limit(model)
        causal = on_test_texts(model, lambda: _equals_its_prefixes(model))
        if causal is None:
            return True
        _FOUND[model] = causal
    return _FOUND[model]


def reads_together(model: PreTrainedModel) -> bool:
    """Whether a text's logits are the same alone and in a batch; tried once per model.

    Dynamic quantisation takes one scale for a whole batch, and some experts take only so many of
    its tokens.
    """
    if model not in _TOGETHER:
        with evaluation_mode(model):
            _TOGETHER[model] = on_test_texts(model, lambda: _equal_alone(model))
    return _TOGETHER[model]


@torch.no_grad()
def _equal_alone(model: PreTrainedModel) -> bool:
    inputs = tiny_prompt(model)
    texts = {name: inputs[name] for name in TEXTS if name in inputs}
    together = first_tensor(model(**texts, use_cache=False))
    for k in range(len(texts["input_ids"])):
        alone = {name: ids[k : k + 1] for name, ids in texts.items()}
        row = first_tensor(model(**alone, use_cache=False))
        if together is None or row is None:
            return False
        if not close_logits(row[0].float(), together[k].float(), model.dtype):
            return False
    return True


def shares_forwards(lm: LanguageModel, inputs: Mapping[str, Tensor], before: int) -> bool:
    """Whether one forward over a text serves all of its outputs.

    That a model is causal does not suffice: rotary embeddings that are stretched beyond a certain
    length give other logits to the same beginning of a longer text. So the first output's logits
    over this very text are compared with those over what is before it.
    """
    if not is_causal(lm.model):
        return False
    texts = {name: ids.tolist() for name, ids in inputs.items()}
    hooked = [
        (*module._forward_hooks, *module._forward_pre_hooks)
        for module in lm.model.modules()
        if has_hooks(module)
    ]
    text = (texts, before, lm.model.dtype, lm.model.config._attn_implementation, hooked)
    latest = _LATEST.get(lm.model)
    if latest is None or latest[0] != text:
        _LATEST[lm.model] = latest = (text, _agrees_with_its_beginning(lm, inputs, before))
    return latest[1]


@torch.no_grad()
def _agrees_with_its_beginning(
    lm: LanguageModel, inputs: Mapping[str, Tensor], before: int
) -> bool:
    """Stretch by stretch, each starting where the last one ended, so that few logits are held."""
    name = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    length = inputs[name].shape[1]
    stretch = max(1, _LOGITS_AT_ONCE // lm.vocabulary_size)
    for start in range(before, length, stretch):
        end = min(start + stretch, length)
        within = _logits(lm, beginning(inputs, end), end - start)
        try:
            alone = _logits(lm, beginning(inputs, start), 0)
        except Exception as error:
            hooked = [name for name, module in lm.model.named_modules() if has_hooks(module)]
            if not hooked:
                raise
            raise ValueError(
                f"lm: its hooks (on {', '.join(hooked[:3])}) or its modules fail on the first "
                f"{start} tokens of this text, {type(error).__name__}: {error}. Each output is "
                "scored by what is before it, so they must read these alone: take the hook off, "
                "or let it pass shorter texts"
            ) from error
        if not close_logits(alone, within, lm.model.dtype):
            return False
    return True


def beginning(inputs: Mapping[str, Tensor], end: int) -> dict[str, Tensor]:
    """Inputs up to a position of the text that is written, an encoder–decoder's source as it is."""
    if "decoder_input_ids" in inputs:
        return {**inputs, "decoder_input_ids": inputs["decoder_input_ids"][:, :end]}
    return {name: row[:, :end] for name, row in inputs.items()}


def close_logits(left: Tensor, right: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits differ by no more than the order of summation can explain."""
    finite = torch.isfinite(left)
    if not finite.any():
        return True  # an error that others report
    error = float((left[finite] - right[finite]).abs().max())
    spread = float(left[finite].std(correction=0)) or 1.0
    return error <= _TOLERANCE.get(dtype, 1e-3) * spread


def _logits(lm: LanguageModel, inputs: Mapping[str, Tensor], back: int) -> Tensor:
    """(vocabulary,), so many positions before the last."""
    output = lm.model(**inputs, use_cache=False, **keep_last(lm, back + 1))
    return output.logits[0, -back - 1].float()


@torch.no_grad()
def _equals_its_prefixes(model: PreTrainedModel) -> bool | None:
    """None where there is nothing to compare: the logits are NaN."""
    inputs = {name: value[:1] for name, value in tiny_prompt(model).items() if name in TEXTS}
    decoded = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    # Long enough for a sparse attention to have to choose.
    inputs[decoded] = inputs[decoded].repeat(1, 4)[:, : position_limit(model, decoded)]
    whole = model(**inputs, use_cache=False).logits.float()
    if torch.isnan(whole).any():
        return None
    # Some models rule tokens out with logits of minus infinity.
    finite = torch.isfinite(whole)
    spread = float(whole[finite].std()) or 1.0
    whole = whole.where(finite, 0.0)
    length = inputs[decoded].shape[1]
    for end in range(2, length, 3):
        prefix = {**inputs, decoded: inputs[decoded][:, :end]}
        # Counted from the end: some models put positions of their own before the text's.
        place = end - 1 - length
        last = model(**prefix, use_cache=False).logits[:, -1].float()
        last = last.where(finite[:, place], 0.0)
        error = float((last - whole[:, place]).abs().max())
        if not error <= _TOLERANCE.get(model.dtype, 1e-3) * spread:
            return False
    return True
