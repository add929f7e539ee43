"""Models: loaded by name, path or file, wrapped as they are, and refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from tiny_tokenizers import byte_level

import ecco_captum
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode
from ecco_captum.testing import model_state

MakeLM = Callable[..., LanguageModel]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are not here must fail at once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("family", "kind"), [("gpt2", "causal"), ("t5", "seq2seq"), ("bert", "masked")]
)
def test_a_directory_loads_into_the_class_it_was_saved_from(
    tiny_lm: MakeLM, tmp_path: Path, family: str, kind: str
) -> None:
    lm = tiny_lm(family, kind)
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    again = ecco_captum.load(tmp_path)
    assert type(again.model) is type(lm.model)
    assert again.name == tmp_path.name
    assert not again.model.training
    before, after = lm.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = lm.tokenizer("The keys")["input_ids"]
    assert again.tokenizer("The keys")["input_ids"] == ids


def test_arguments_of_from_pretrained_pass_through(tiny_lm: MakeLM, tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    again = ecco_captum.load(tmp_path, dtype=torch.bfloat16, attn_implementation="eager")
    assert again.model.dtype == torch.bfloat16
    assert again.model.config._attn_implementation == "eager"


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_lm: MakeLM, tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    lm.model.config.tie_word_embeddings = False
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of LlamaForCausalLM.*would be random"):
        ecco_captum.load(tmp_path)


def test_what_cannot_be_loaded_says_what_can(tmp_path: Path) -> None:
    for name in ("no-such/model", str(tmp_path), str(tmp_path / "x.gguf")):
        with pytest.raises(ValueError, match="name: ") as caught:
            ecco_captum.load(name)
        assert re.search(r"could not be loaded.* Accepted: a hub id", str(caught.value))


def test_a_damaged_checkpoint_is_named(tiny_lm: MakeLM, tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    (tmp_path / "x.gguf").write_bytes(b"GGUFxxxx")
    for name in (tmp_path, tmp_path / "x.gguf"):
        with pytest.raises(ValueError, match=r"name: .* could not be loaded"):
            ecco_captum.load(name)


def test_wrap_leaves_the_model_as_it_is(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    lm.model.train()
    before = model_state(lm.model)
    wrapped = ecco_captum.wrap(lm.model, lm.tokenizer)
    assert wrapped.model is lm.model
    assert wrapped.anatomy.blocks
    assert model_state(lm.model) == before
    assert re.fullmatch(r"LanguageModel\('.+', GPT2LMHeadModel, 0M parameters\)", repr(wrapped))


def test_a_users_own_anatomy_is_used(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    own = ecco_captum.Anatomy(lm.anatomy.architecture, lm.anatomy.stack)
    assert ecco_captum.wrap(lm.model, lm.tokenizer, anatomy=own).anatomy is own


def test_a_tokenizer_of_another_model_is_refused(tiny_lm: MakeLM) -> None:
    small = tiny_models.build("causal", "gpt2")
    with pytest.raises(ValueError, match=r"it has 320 tokens, the model embeds 101; it does not"):
        ecco_captum.wrap(small, byte_level())
    large = tiny_lm("gpt2").model
    large.resize_token_embeddings(1000, mean_resizing=False)
    with pytest.raises(ValueError, match=r"it has 320 tokens, the model embeds 1000; it does not"):
        ecco_captum.wrap(large, byte_level())
    large.resize_token_embeddings(384, mean_resizing=False)  # padded, as many are
    assert ecco_captum.wrap(large, byte_level()).vocabulary_size == 384


def test_wrap_refuses_other_things(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(TypeError, match=r"model: got a torch\.nn.*Linear"):
        ecco_captum.wrap(torch.nn.Linear(2, 2), lm.tokenizer)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"tokenizer: got a builtins\.str"):
        ecco_captum.wrap(lm.model, "gpt2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"anatomy: got a builtins\.dict"):
        ecco_captum.wrap(lm.model, lm.tokenizer, anatomy={})  # type: ignore[arg-type]


def test_quiet_puts_back_each_mode_and_flag(tiny_lm: MakeLM) -> None:
    model = tiny_lm("gpt2").model
    model.train()
    model.transformer.h[1].eval()
    next(model.parameters()).requires_grad_(False)
    before = model_state(model)
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model_state(model) == before
    with pytest.raises(KeyboardInterrupt), evaluation_mode(model):
        raise KeyboardInterrupt
    assert model_state(model) == before


def test_context_length(tiny_lm: MakeLM) -> None:
    assert tiny_lm("gpt2").context_length == 64
    assert tiny_lm("llama").context_length == 64
    assert tiny_lm("mamba").context_length is None
