"""Adapters of the embeddings: gradients enter where the blocks read, their part included."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import peft
import pytest
import tiny_models
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ecco_captum import Attribution, Generation, force_decode, generate, saliency
from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.anatomy.parts import Embedding
from ecco_captum.models.language_model import LanguageModel

MakeLM = Callable[..., LanguageModel]

TABLES = {
    "gpt2": "transformer.wte",
    "llama": "model.embed_tokens",
    "bert": "bert.embeddings.word_embeddings",
}
PROMPT = [5, 9, 6, 7, 30]


def adapted(model: Any, *targets: str, **options: Any) -> Any:
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=list(targets), init_lora_weights=False, **options
    )
    torch.manual_seed(1)
    with warnings.catch_warnings():
        # That weights tied to a table do not follow its adapter makes no difference here.
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        return peft.inject_adapter_in_model(config, model).eval()


def row_of(table: Any, ids: Tensor) -> Tensor:
    """What an adapted table gives, written out."""
    down, up = table.lora_embedding_A["default"], table.lora_embedding_B["default"]
    adapter = (down.T[ids] @ up.T * table.scaling["default"]).detach()
    base = table.base_layer.weight[ids].detach()
    assert adapter.norm() > base.norm() / 2, "the test shows nothing without it"
    return base + adapter


def close(given: Any, expected: Tensor) -> None:
    given = torch.tensor(given) if isinstance(given, np.ndarray) else given
    error = float((given - expected).abs().max())
    assert error < 1e-5 * float(expected.abs().max())


def product(score: Tensor, leaf: Tensor) -> Tensor:
    """Gradient × input of the only text, by position."""
    (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
    return (gradient * leaf).detach().norm(dim=-1)[0]


def text(generation: Generation) -> Tensor:
    return torch.tensor([[*generation.prompt_ids, *generation.output_ids]])


def check_causal(lm: LanguageModel, embedded: Callable[[Tensor], Tensor]) -> None:
    """Embeddings, saliency and Captum's own class, against transformers' ``inputs_embeds``."""
    generation = generate(lm, PROMPT, max_new_tokens=3)
    attribution: Attribution = saliency(lm, generation)
    for row, output in enumerate(generation.output_ids.tolist()):
        before = text(generation)[:, : len(PROMPT) + row]
        close(lm.embeddings(before), embedded(before))
        leaf = embedded(before).requires_grad_()
        score = lm.model(inputs_embeds=leaf, use_cache=False).logits[0, -1, output]
        close(attribution.scores[row, : before.shape[1]], product(score, leaf))
        explainer = captum.attr.InputXGradient(lm.forward_from_embeddings)
        through = explainer.attribute(lm.embeddings(before).requires_grad_(), target=output)
        close(through.detach().norm(dim=-1)[0], product(score, leaf))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_of_a_causal_model(tiny_lm: MakeLM, family: str) -> None:
    lm = tiny_lm(family)
    size, path = lm.vocabulary_size, TABLES[family]
    adapted(lm.model, path)
    table = lm.model.get_submodule(path)
    assert lm.anatomy.embedding is not None
    assert lm.anatomy.embedding.module == path
    assert lm.vocabulary_size == size
    check_causal(lm, lambda ids: row_of(table, ids))


def test_of_a_masked_language_model(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("bert", "masked")
    adapted(lm.model, "word_embeddings", "query")
    table = lm.model.get_submodule(TABLES["bert"])
    generation = generate(lm, "the [MASK] to the [MASK] are")
    ids = torch.tensor(generation.prompt_ids[None])
    close(lm.embeddings(ids), row_of(table, ids))
    leaf = row_of(table, ids).requires_grad_()
    logits = lm.model(inputs_embeds=leaf).logits[0]
    places = (ids[0] == lm.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    scores = saliency(lm, generation).scores
    assert len(scores) == len(places) == 2
    for row, (place, output) in enumerate(zip(places, generation.output_ids, strict=True)):
        close(scores[row, : ids.shape[1]], product(logits[place, int(output)], leaf))


@pytest.mark.parametrize("shared", [False, True])
def test_of_an_encoder_and_a_decoder(tiny_lm: MakeLM, shared: bool) -> None:
    lm = tiny_lm("t5", "seq2seq")
    model, paths = lm.model, ["shared", "shared"]
    if shared:
        adapted(model, "shared", "v")
        model.set_input_embeddings(model.shared)
    else:
        paths = ["encoder.embed_tokens", "decoder.embed_tokens"]
        for stack in (model.encoder, model.decoder):
            stack.embed_tokens = copy.deepcopy(model.shared)
        adapted(model, "embed_tokens", "v")
    sites = [stack.embedding for stack in lm.anatomy.stacks]
    assert sites == [Embedding(paths[0]), Embedding(paths[1], call=int(shared))]
    generation = force_decode(lm, PROMPT, [8, 11, 6])
    source = torch.tensor(generation.prompt_ids[None])
    written = torch.tensor([[3, *generation.output_ids[:-1]]])
    leaves = [
        row_of(lm.model.encoder.embed_tokens, source).requires_grad_(),
        row_of(lm.model.decoder.embed_tokens, written).requires_grad_(),
    ]
    close(lm.embeddings(source, written), torch.cat(leaves, dim=1).detach())
    logits = lm.model(inputs_embeds=leaves[0], decoder_inputs_embeds=leaves[1]).logits[0]
    scores = saliency(lm, generation).scores
    for row, output in enumerate(generation.output_ids.tolist()):
        parts = [product(logits[row, output], leaf) for leaf in leaves]
        # The token that a decoder starts with is none of the text's.
        expected = torch.cat([parts[0], parts[1][1 : row + 1]])
        close(scores[row, : len(expected)], expected)
    through = captum.attr.InputXGradient(lm.forward_from_embeddings).attribute(
        lm.embeddings(source, written).requires_grad_(),
        target=output,
        additional_forward_args=(source, written),
    )
    close(through.detach().norm(dim=-1)[0], torch.cat(parts))


class Scaled(nn.Module):
    """A table whose embeddings are scaled."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table, self.factor = table, 32**0.5

    def forward(self, ids: Tensor) -> Tensor:
        scaled: Tensor = self.table(ids) * self.factor
        return scaled


class Moved(Scaled):
    """They are moved, too, by what a small table holds."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__(table)
        self.small = nn.Embedding(table.num_embeddings, 3)
        self.widen = nn.Linear(3, table.embedding_dim)

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) + self.widen(self.small(ids))


@pytest.mark.parametrize("around", [Scaled, Moved])
def test_of_a_module_around_the_table(tiny_lm: MakeLM, around: type[Scaled]) -> None:
    lm = tiny_lm("llama")
    size = lm.vocabulary_size
    torch.manual_seed(1)
    wrapper = around(lm.model.model.embed_tokens)
    lm.model.model.embed_tokens = wrapper
    assert lm.vocabulary_size == size
    assert lm.anatomy.embedding is not None
    assert lm.anatomy.embedding.module == "model.embed_tokens"
    check_causal(lm, lambda ids: wrapper(ids).detach())


def test_of_tokens_that_are_trained_alone(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    adapted(lm.model, "q_proj", trainable_token_indices=PROMPT[:2])
    table = lm.model.model.embed_tokens
    rows = table.token_adapter.trainable_tokens_delta["default"]
    nn.init.normal_(rows)
    whole = lm.model.model.embed_tokens.token_adapter.base_layer.weight.detach().clone()
    whole[PROMPT[:2]] = rows.detach()
    assert lm.vocabulary_size == len(whole)
    check_causal(lm, lambda ids: whole[ids])


@pytest.mark.parametrize("merged", [False, True])
def test_of_a_table_that_is_trained_anew_or_merged(tiny_lm: MakeLM, merged: bool) -> None:
    lm = tiny_lm("llama")
    if merged:
        adapted(lm.model, "embed_tokens")
        table = lm.model.model.embed_tokens
        every = row_of(table, torch.arange(lm.vocabulary_size))
        table.merge()
    else:
        adapted(lm.model, "q_proj", modules_to_save=["embed_tokens"])
        table = lm.model.model.embed_tokens
        nn.init.normal_(table.modules_to_save["default"].weight)
        every = table.modules_to_save["default"].weight.detach()
    assert lm.vocabulary_size == len(every)
    check_causal(lm, lambda ids: every[ids])


@pytest.mark.parametrize(
    ("kind", "family", "target", "paths"),
    [
        # What comes around the table is a norm, and positions: that is no part of it.
        ("masked", "bert", "word_embeddings", ["bert.embeddings.word_embeddings"]),
        ("masked", "modernbert", "tok_embeddings", ["model.embeddings.tok_embeddings"]),
        # A second table that reads the same ids is another part of the model.
        ("causal", "gemma3n_text", "embed_tokens", ["model.embed_tokens"]),
        # A decoder whose own table is not the one that the model names.
        (
            "seq2seq",
            "fsmt",
            "embed_tokens",
            ["model.encoder.embed_tokens", "model.decoder.embed_tokens"],
        ),
        (
            "seq2seq",
            "bart",
            "embed_tokens",
            ["model.encoder.embed_tokens", "model.decoder.embed_tokens"],
        ),
    ],
)
def test_the_module_is_the_adapter_s_and_none_around_it(
    kind: str, family: str, target: str, paths: list[str]
) -> None:
    model = adapted(tiny_models.build(kind, family), target)
    stacks = find_anatomy(model).stacks
    found = [stack.embedding.module for stack in stacks if stack.embedding is not None]
    assert found == paths
    for path in found:
        assert isinstance(model.get_submodule(path).base_layer, nn.Embedding)


def test_what_holds_positions_too_is_no_embedding_though_the_model_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_models.build("masked", "bert")
    monkeypatch.setattr(type(model.bert), "get_input_embeddings", lambda self: self.embeddings)
    assert find_anatomy(model).embedding == Embedding("bert.embeddings.word_embeddings")


def test_tables_that_the_model_does_not_name_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = adapted(tiny_models.build("causal", "gemma3n_text"), "embed_tokens")

    def unknown(self: Any) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(PreTrainedModel, "get_input_embeddings", unknown)
    beside = ("model.embed_tokens_per_layer",)
    assert find_anatomy(model).embedding == Embedding("model.embed_tokens", beside=beside)


def test_an_adapted_head() -> None:
    model = adapted(tiny_models.build("causal", "llama"), "lm_head", "q_proj")
    head = find_anatomy(model).head
    assert head is not None
    assert head.module == "lm_head"
