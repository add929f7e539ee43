"""SmolLM2-135M: reference numbers reproduced, and the demo's claims looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_saliency import naive_saliency

from ecco_captum import force_decode, generate, saliency
from ecco_captum.cli.commands import DEMO_PROMPT
from ecco_captum.models.language_model import LanguageModel

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def cases(reference: Path) -> list[dict[str, Any]]:
    return json.loads((reference / "smollm2.json").read_text())["saliency"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", [0, 1])
def test_reference_numbers(real_lm: LanguageModel, cases: list[dict[str, Any]], case: int) -> None:
    expected = cases[case]
    generation = generate(real_lm, expected["prompt"], max_new_tokens=len(expected["output_ids"]))
    assert generation.prompt_ids.tolist() == expected["prompt_ids"]
    assert generation.output_ids.tolist() == expected["output_ids"]
    assert generation.text == expected["output_text"]
    np.testing.assert_allclose(generation.logits, expected["logits"], rtol=1e-5)
    attribution = saliency(real_lm, generation)
    for t, row in enumerate(expected["l2"]):
        np.testing.assert_allclose(attribution.scores[t, : len(row)], row, rtol=2e-5)
        assert not attribution.scores[t, len(row) :].any()


def test_equals_the_naive_loop_to_1e_5(real_lm: LanguageModel) -> None:
    generation = force_decode(real_lm, DEMO_PROMPT, " Croatia\n5. Czech Republic\n6. Hungary")
    attribution = saliency(real_lm, generation)
    prompt = len(generation.prompt_ids)
    for t, row in enumerate(naive_saliency(real_lm, generation.tokens.ids, prompt)):
        np.testing.assert_allclose(attribution.scores[t, : prompt + t], row, rtol=1e-5)


def test_a_chat_keeps_its_special_tokens(real_lm: LanguageModel) -> None:
    generation = generate(
        real_lm, [{"role": "user", "content": "Name a colour."}], max_new_tokens=4
    )
    start = real_lm.tokenizer.bos_token_id
    assert generation.prompt_ids.tolist().count(start) == 3  # system, user, assistant
    assert generation.tokens.texts[0] == "<|im_start|>"
    assert saliency(real_lm, generation).scores[:, 0].all()
