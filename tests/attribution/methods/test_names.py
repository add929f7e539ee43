"""Names of methods: all of them, and what a config says of them."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from ecco_captum.attribution.methods.catalogue import METHODS
from ecco_captum.attribution.methods.names import ALIASES, NAMES, check_name, possible_names


def test_the_names_are_those_of_the_methods() -> None:
    assert sorted(NAMES) == sorted(METHODS)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("integrated-gradient", "integrated_gradients"),
        ("atn_lrp", "attn_lrp"),
        ("AttnLRP", "attn_lrp"),
        ("rolout", "attention_rollout"),
        ("shap", ""),
        ("zzz", ""),
    ],
)
def test_a_wrong_name_is_told_the_nearest(name: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=f"method: got '{name}'") as caught:
        check_name(name)
    if suggestion:
        assert f"did you mean '{suggestion}'?" in str(caught.value)
    assert "'lrp'" not in str(caught.value)


@pytest.mark.parametrize("name", [*NAMES, *ALIASES])
def test_right_names_pass(name: str) -> None:
    assert check_name(name) in NAMES


@pytest.mark.parametrize(
    ("config", "reads"),
    [
        (transformers.GPT2Config(), True),
        (transformers.LlamaConfig(), True),
        (transformers.BertConfig(), True),
        (transformers.GPTNeoConfig(), True),
        (transformers.Gemma3Config(), True),
        (transformers.T5Config(), False),
        (transformers.MambaConfig(), False),
        (transformers.Mamba2Config(), False),
        (transformers.RwkvConfig(), False),
    ],
    ids=lambda given: getattr(given, "model_type", ""),
)
def test_methods_of_attention_are_for_models_that_have_some(config: Any, reads: bool) -> None:
    possible = possible_names(config.to_dict())
    assert ("attention" in possible) == ("attention_rollout" in possible) == reads
    assert "input_x_gradient" in possible
    assert not {"lrp", "guided_gradcam"} & set(possible)
