"""Saliency equals the naive loop on every causal architecture that can be built."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny_models
import tiny_tokenizers
import transformers
from architectures import architectures
from naive_saliency import naive_saliency

from ecco_captum import Generation, saliency
from ecco_captum.core.tokens import Tokens
from ecco_captum.models.language_model import LanguageModel

PROMPT, OUTPUTS = 5, 20

REFUSED = {
    "hrm_text": "gives no gradient",
    "musicgen": "does not run on plain token ids",
    "musicgen_melody": "does not run on plain token ids",
    "reformer": "gives no gradient",
}
BROKEN = {"prophetnet": "its own forward fails on a text of this length with so small a config"}


def text_for(name: str) -> Generation:
    ids = np.random.default_rng(0).integers(5, 80, PROMPT + OUTPUTS)
    zeros = np.zeros(OUTPUTS, dtype=np.float32)
    tokens = Tokens(ids, tuple(map(str, ids)), PROMPT)
    return Generation(
        ids[:PROMPT], ids[PROMPT:], tokens, zeros, zeros, zeros + 1, ids[:0], name, {}
    )


def worst(lm: LanguageModel, generation: Generation) -> float:
    """The largest difference from the naive loop, over the maximum of its row."""
    scores = saliency(lm, generation).scores
    rows = naive_saliency(lm, generation.tokens.ids, PROMPT)
    errors = [np.abs(scores[t, : PROMPT + t] - row) / row.max() for t, row in enumerate(rows)]
    return float(max(error.max() for error in errors))


@pytest.mark.parametrize(("kind", "name"), architectures("causal"))
def test_equals_the_naive_loop(kind: str, name: str) -> None:
    transformers.logging.set_verbosity_error()
    if name in BROKEN:
        pytest.skip(BROKEN[name])
    with warnings.catch_warnings():
        # Models speak up about their own configurations; this is about numbers.
        warnings.simplefilter("ignore")
        model = tiny_models.build(kind, name)
        lm = LanguageModel(model, tiny_tokenizers.byte_level(), name)
        generation = text_for(name)
        if name in REFUSED:
            with pytest.raises(ValueError, match=REFUSED[name]):
                saliency(lm, generation)
            return
        if worst(lm, generation) > 2e-5:
            # On some processors two orders of summation of float32 differ by more than that.
            model.double()
            assert worst(lm, generation) <= 1e-6
