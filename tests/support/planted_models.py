"""Language models whose weights are written by hand, so that what they do is known."""

from __future__ import annotations

import numpy as np
import tiny_tokenizers
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import ecco_captum as ec

WIDTH = 32


def _llama(width: int = WIDTH, neurons: int = WIDTH) -> LlamaForCausalLM:
    """One head, uniform attention that passes each token on as it is, and no feed-forward part."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizers.byte_level()),
        hidden_size=width,
        intermediate_size=neurons,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        embeddings = torch.randn(config.vocab_size, width)
        # Of length 1 to a root-mean-square norm, which then leaves them alone.
        embeddings /= embeddings.square().mean(dim=1, keepdim=True).sqrt()
        model.model.embed_tokens.weight.copy_(embeddings)
        model.lm_head.weight.copy_(torch.randn(config.vocab_size, width))
        for layer in model.model.layers:
            attention = layer.self_attn
            for part in (attention.q_proj, attention.k_proj):
                part.weight.zero_()
            for part in (attention.v_proj, attention.o_proj):
                part.weight.copy_(torch.eye(width))
            layer.mlp.down_proj.weight.zero_()
    return model


def _wrapped(model: torch.nn.Module, name: str) -> ec.LanguageModel:
    model.generation_config.eos_token_id = None
    return ec.wrap(model, tiny_tokenizers.byte_level(), name=name)


def bag_of_embeddings() -> ec.LanguageModel:
    """Each output's logits are a linear map of the mean of the embeddings before it, up to a norm.

    Where a token matters is no matter, and :func:`bag_scores` says how much it does.
    """
    return _wrapped(_llama(), "bag of embeddings")


def bag_scores(lm: ec.LanguageModel, generation: ec.Generation) -> np.ndarray:
    """(outputs, positions), float32: what each token adds to the output's logit, up to a scale."""
    weights = lm.model.lm_head.weight.detach().numpy()
    embeddings = lm.model.model.embed_tokens.weight.detach().numpy()
    ids, start = generation.tokens.ids, len(generation.prompt_ids)
    scores = weights[generation.output_ids] @ embeddings[ids].T
    known = np.arange(len(ids)) < start + np.arange(len(generation.output_ids))[:, None]
    return np.where(known, scores, 0).astype(np.float32)


def successor() -> ec.LanguageModel:
    """After each token, the next id is the most probable: it predicts texts that count up.

    The block's neurons say so: one for each token, which fires on it and writes the next one's
    embedding.
    """
    model = _llama(width=4 * WIDTH, neurons=len(tiny_tokenizers.byte_level()))
    with torch.no_grad():
        embeddings, mlp = model.model.embed_tokens.weight, model.model.layers[0].mlp
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        mlp.gate_proj.weight.copy_(embeddings)
        mlp.up_proj.weight.copy_(embeddings)
        mlp.down_proj.weight.copy_(embeddings.roll(-1, dims=0).T)
        model.lm_head.weight.copy_(embeddings)
    return _wrapped(model, "successor")


KEYS = range(40, 60)
PLACE = 3


def key_in_its_place() -> ec.LanguageModel:
    """What follows is decided by the token at one place, if it is a key; else by nothing much.

    Every position attends to position 3. A key's embedding is large in the half of the width that
    the head passes on, so that its own output token then leads; other tokens pass on little.
    """
    config = GPT2Config(
        vocab_size=len(tiny_tokenizers.byte_level()),
        bos_token_id=0,
        eos_token_id=1,
        n_embd=2 * WIDTH,
        n_layer=1,
        n_head=1,
        n_inner=WIDTH,
        n_positions=64,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    block, half = model.transformer.h[0], WIDTH
    with torch.no_grad():
        values = 0.3 * torch.randn(config.vocab_size, WIDTH)
        values[list(KEYS)] *= 12
        model.transformer.wte.weight.zero_()
        model.transformer.wte.weight[:, :half] = values
        # A second half says where a token stands: the place has one feature, others another.
        model.transformer.wpe.weight.zero_()
        model.transformer.wpe.weight[:, half + 1] = 60.0
        model.transformer.wpe.weight[PLACE, half : half + 2] = torch.tensor([60.0, 0.0])
        weight = torch.zeros(2 * WIDTH, 6 * WIDTH)
        bias = torch.zeros(6 * WIDTH)
        bias[0] = 12.0  # every query asks for the place
        weight[half, 2 * WIDTH] = 12.0  # its key answers
        weight[:half, 4 * WIDTH : 4 * WIDTH + half] = torch.eye(half)
        block.attn.c_attn.weight.copy_(weight)
        block.attn.c_attn.bias.copy_(bias)
        block.attn.c_proj.weight.zero_()
        block.attn.c_proj.weight[:half, :half] = 8 * torch.eye(half)
        block.mlp.c_proj.weight.zero_()
        head = torch.zeros(config.vocab_size, 2 * WIDTH)
        head[:, :half] = 5 * torch.nn.functional.normalize(values, dim=1)
        model.lm_head.weight.copy_(head)
    return _wrapped(model, "key in its place")


FEATURE, FOLLOWS, DICTIONARY = 24, 100, tuple(range(10))


def dictionary_of_neurons() -> ec.LanguageModel:
    """Ten neurons fire on the tokens below id 32 alone, and write the token that follows these.

    The others are small and at random, twice as wide as the residual stream.
    """
    model = _llama(neurons=2 * WIDTH)
    with torch.no_grad():
        embeddings = model.model.embed_tokens.weight
        embeddings[:, FEATURE:] = 0
        embeddings[:32, FEATURE] = 4.0
        mlp, neurons = model.model.layers[0].mlp, list(DICTIONARY)
        for part in (mlp.gate_proj, mlp.up_proj):
            part.weight.copy_(0.3 * torch.randn_like(part.weight))
            part.weight[neurons] = 0
            part.weight[neurons, FEATURE] = 2.0
        mlp.down_proj.weight.copy_(0.05 * torch.randn_like(mlp.down_proj.weight))
        direction = torch.nn.functional.normalize(model.lm_head.weight[FOLLOWS], dim=0)
        mlp.down_proj.weight[:, neurons] = direction[:, None]
    return _wrapped(model, "dictionary of neurons")
