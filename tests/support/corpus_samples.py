"""Small corpora, the tiny model that workers load, and a folder as one thing to compare."""

from __future__ import annotations

import hashlib
from pathlib import Path

import tiny_models
import tiny_tokenizers
import torch

import ecco_captum
from ecco_captum.models.language_model import LanguageModel

WORDS = ("the", "keys", "to", "cabinet", "are", "on", "table", "and", "a", "dog", "sleeps", "near")
WORDS += ("old", "door")


def tiny_gpt2(seed: int = 0) -> LanguageModel:
    """The same weights in every process."""
    tokenizer = tiny_tokenizers.byte_level()
    model = tiny_models.build("causal", "gpt2")
    torch.manual_seed(seed)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=0.3)
    return ecco_captum.wrap(model.eval(), tokenizer, name="tiny gpt2")


def sentences(count: int) -> list[str]:
    """Texts of one to eight words."""
    return [
        " ".join(WORDS[(3 * k + j) % len(WORDS)] for j in range(1 + k % 8)) for k in range(count)
    ]


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder that a run over a corpus has written, as a digest of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def other_weights() -> LanguageModel:
    """The same architecture."""
    return tiny_gpt2(1)


def tokens_without_dogs(lm: LanguageModel, text: str) -> dict[str, int]:
    """A function of a text, which refuses some."""
    if "dog" in text:
        raise ValueError("no dogs")
    return {"tokens": len(lm.tokenizer(text)["input_ids"])}
