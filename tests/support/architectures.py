"""Which architectures every run takes; all the others are for the nightly run."""

from __future__ import annotations

import pytest
import tiny_models
from _pytest.mark import ParameterSet

KINDS = ("causal", "masked", "seq2seq")
EVERY = [(kind, name) for kind in KINDS for name in tiny_models.names(kind)]

# One of each way to be built: transposed linear maps, gates, ALiBi, soft-caps, parallel blocks,
# projections around the stream, experts in reach and fused, no attention, streams of other shapes,
# reversible blocks.
# fmt: off
USUAL = {
    "causal": [
        "bert", "bloom", "deepseek_v3", "gemma2", "gemma3_text", "gpt2", "gpt_neox",
        "llama", "mamba", "mixtral", "opt", "qwen3", "reformer",
    ],
    "masked": ["bert", "funnel"],
    "seq2seq": ["t5"],
}
# fmt: on


def architectures(*kinds: str) -> list[ParameterSet]:
    """(kind, name) of all architectures of some kinds, or of all."""
    return [
        pytest.param(
            kind,
            name,
            id=f"{kind}:{name}",
            marks=[] if name in USUAL[kind] else [pytest.mark.nightly],
        )
        for kind, name in EVERY
        if kind in (kinds or KINDS)
    ]
