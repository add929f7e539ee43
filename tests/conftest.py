"""Fixtures: tiny language models of several families, and the real one where it can be had."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
import tiny_tokenizers
import torch

import ecco_captum
from ecco_captum.models.language_model import LanguageModel

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"

_TOKENIZERS = {
    "gpt2": tiny_tokenizers.byte_level,
    "llama": tiny_tokenizers.sentence_piece,
    "bert": tiny_tokenizers.word_piece,
    "t5": tiny_tokenizers.sentence_piece,
}


def pytest_configure(config: pytest.Config) -> None:
    # Tiny products do not gain from threads.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_lm() -> Callable[..., LanguageModel]:
    """Makes a fresh tiny random language model with a tokenizer that belongs to it."""

    def make(family: str = "gpt2", kind: str = "causal", **kwargs: object) -> LanguageModel:
        tokenizer = _TOKENIZERS.get(family, tiny_tokenizers.byte_level)()
        torch.manual_seed(0)
        model = tiny_models.build(kind, family, **kwargs)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            for embedding in {model.get_input_embeddings(), model.get_output_embeddings()}:
                if embedding is not None:
                    embedding.weight.normal_(std=0.3)
        if model.can_generate():
            # A random model would otherwise stop at random; and some configs name no start.
            model.generation_config.eos_token_id = None
            if kind == "seq2seq":
                model.generation_config.decoder_start_token_id = 3
        return ecco_captum.wrap(model, tokenizer, name=f"tiny {family}")

    return make


@pytest.fixture(scope="session")
def loaded_smollm2() -> LanguageModel:
    try:
        return ecco_captum.load("smollm2-135m")
    except (OSError, ValueError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the offline model cannot be had: {error}")


@pytest.fixture
def real_lm(loaded_smollm2: LanguageModel) -> Iterator[LanguageModel]:
    """SmolLM2-135M: fetched once into the cache; in continuous integration it has to be there."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    yield loaded_smollm2
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference numbers that lie beside a developer's checkout."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference numbers beside this checkout ({REFERENCE.name}/)")
    return REFERENCE


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray of its own with two processors, which the engines of a module find and share."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    # "local", as this machine may have another Ray, of somebody else.
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=2, object_store_memory=2**28, **quiet)
    yield
    ray.shutdown()
