"""Every text architecture that transformers knows: each part is right, or refused by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import architecture_checks
import pytest
import tiny_models
import torch
from architecture_checks import PARTS, RIGHT, examine
from architectures import EVERY, architectures
from transformers.models.auto import modeling_auto

from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.anatomy.parts import Embedding

# How many of all architectures have to be right, part by part.
AT_LEAST = {"gradient": 266, "blocks": 267, "lens": 264, "neurons": 248}

_NOT_RUNNING = dict.fromkeys(PARTS, "does not run on plain token ids")
_SHAPES = dict.fromkeys(("blocks", "lens", "neurons"), "streams of different shapes")
_LATENTS = dict.fromkeys(("blocks", "lens", "neurons"), "do not run on the tokens")
_FUSED = {"neurons": "the experts of .* are fused in one tensor"}
_OWN_EXPERTS = {"neurons": "the down-projection in .* is no module of its own"}
_NO_FEED_FORWARD = {"neurons": "no feed-forward layer"}
_APPROXIMATE = {"gradient": "off the slope that is measured"}
_REVERSIBLE = {
    "gradient": "its backward pass raises AssertionError",
    "lens": "do not follow from the last block's output alone",
}

# What is refused, and a phrase of the reason. What is not listed here has to be right.
REFUSALS: dict[str, dict[str, str]] = {
    "causal:blt": _SHAPES,
    "causal:cohere2_moe": _FUSED,
    "causal:dbrx": _OWN_EXPERTS,
    "causal:falcon_mamba": _NO_FEED_FORWARD,
    "causal:flex_olmo": _FUSED,
    "causal:gpt_oss": _FUSED,
    "causal:granitemoe": _FUSED,
    "causal:granitemoe_swa": _FUSED,
    "causal:hrm_text": _APPROXIMATE,
    "causal:inkling2_text": {"lens": "do not follow from the last block's output alone", **_FUSED},
    "causal:inkling_text": _FUSED,
    "causal:jetmoe": _OWN_EXPERTS,
    "causal:mamba": _NO_FEED_FORWARD,
    "causal:mamba2": _NO_FEED_FORWARD,
    "causal:mellum": _FUSED,
    "causal:minimax": _FUSED,
    "causal:minimax_m2": _FUSED,
    "causal:mixtral": _FUSED,
    "causal:musicgen": _NOT_RUNNING,
    "causal:musicgen_melody": _NOT_RUNNING,
    "causal:olmoe": _FUSED,
    "causal:phimoe": _FUSED,
    "causal:reformer": _REVERSIBLE,
    "causal:zaya": _FUSED,
    "masked:funnel": _SHAPES,
    "masked:perceiver": _LATENTS,
    "masked:reformer": _REVERSIBLE,
    "masked:yoso": _APPROXIMATE,
}

# Models with neurons in reach, but not all of them: a phrase of the reason, and which models.
INCOMPLETE = {
    "are fused in one tensor": """causal:afmoe causal:aria_text causal:axk1 causal:axk2
        causal:bailing_hybrid causal:beam causal:deepseek_v2 causal:deepseek_v3 causal:deepseek_v32
        causal:deepseek_v4 causal:dots1 causal:dots3_note causal:dots3_note_text
        causal:ernie4_5_moe causal:exaone_moe causal:glm4_moe causal:glm4_moe_lite
        causal:glm_moe_dsa causal:granitemoehybrid causal:granitemoeshared causal:hunyuan_v1_moe
        causal:hy_v3 causal:hy_v4 causal:jamba causal:kimi_linear causal:kolibri1 causal:laguna
        causal:lfm2_moe causal:llama4 causal:llama4_text causal:mimo_v2_flash
        causal:minimax_m3_vl_text causal:qwen2_moe causal:qwen3_5_moe causal:qwen3_5_moe_text
        causal:qwen3_moe causal:qwen3_next causal:qwen4_exp causal:qwen4_exp_text
        causal:solar_open""",
    "no module of its own": "causal:longcat_flash",
    "no feed-forward layer": "causal:nemotron_h causal:zamba causal:zamba2",
    "does not see the tokens in their places": """seq2seq:nllb-moe seq2seq:pegasus_x
        seq2seq:switch_transformers""",
}
_WHY_INCOMPLETE = {name: phrase for phrase, models in INCOMPLETE.items() for name in models.split()}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another take most of the time of models as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("kind", "model_type"), architectures())
def test_each_part_is_right_or_refused_by_name(kind: str, model_type: str) -> None:
    name, verdicts = f"{kind}:{model_type}", examine(kind, model_type)
    expected = REFUSALS.get(name, {})
    refused = verdicts.refused
    assert refused.keys() == expected.keys(), f"{refused} where {expected} was expected"
    for part, phrase in expected.items():
        assert re.search(phrase, refused[part])
    if "neurons" not in refused:
        phrase = _WHY_INCOMPLETE.get(name, "")
        assert phrase in verdicts.incomplete
        assert bool(phrase) == bool(verdicts.incomplete), verdicts.incomplete


@pytest.mark.nightly
def test_as_many_are_right_as_before() -> None:
    right = Counter(
        part for each in EVERY for part in PARTS if getattr(examine(*each), part) == RIGHT
    )
    assert {part: right[part] for part in PARTS} == AT_LEAST


def test_none_is_left_out_in_silence() -> None:
    mappings = {
        "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "seq2seq": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    }
    for kind, mapping in mappings.items():
        assert set(mapping) - set(tiny_models.names(kind)) <= set(tiny_models.NOT_BUILT)
    assert set(REFUSALS) | set(_WHY_INCOMPLETE) <= {":".join(each) for each in EVERY}


@pytest.mark.parametrize("name", [name for name in REFUSALS if REFUSALS[name] is _APPROXIMATE])
def test_gradients_that_are_refused_are_indeed_wrong(name: str) -> None:
    model = tiny_models.build(*name.split(":"))
    anatomy = find_anatomy(model)
    assert architecture_checks.wrong_gradient(model, anatomy).startswith("WRONG")


def test_the_checks_see_what_is_wrong() -> None:
    model = tiny_models.build("causal", "gpt2")
    anatomy = find_anatomy(model)
    stack, second = anatomy.stack, anatomy.blocks[1]
    attention = replace(second.neurons[0], module="transformer.h.1.attn.c_proj", width=32)
    inner = replace(stack.blocks[-1], module="transformer.h.2.mlp")
    short = replace(stack, blocks=stack.blocks[:-1])
    broken = {
        architecture_checks.wrong_blocks: [short, replace(stack, axes=(1, 0, 2))],
        architecture_checks.wrong_lens: [replace(stack, blocks=(*stack.blocks[:-1], inner))],
        architecture_checks.wrong_neurons: [
            replace(stack, blocks=(replace(second, neurons=(attention,)),)),
        ],
        architecture_checks.wrong_gradient: [
            replace(stack, embedding=Embedding("transformer.wpe")),
            replace(stack, embedding=Embedding("transformer.h.0")),
        ],
    }
    for check, stacks in broken.items():
        assert check(model, anatomy) == ""
        for one in stacks:
            assert check(model, replace(anatomy, stack=one)).startswith("WRONG")
