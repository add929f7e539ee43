"""AttnLRP written out: relevance goes down layer by layer, by the paper's equations.

Nothing here is a gradient. Forwards of GPT-2 and Llama are written out in float64; each function
below takes an output's relevance and returns its inputs' (Achtibat et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def share(relevance: Tensor, outputs: Tensor) -> Tensor:
    """R / z; an output of exactly zero has no relevance."""
    return torch.where(outputs == 0, 0.0, relevance / outputs)


def through_linear(inputs: Tensor, weight: Tensor, outputs: Tensor, relevance: Tensor) -> Tensor:
    """The ε-rule, ε = 0: z_j = Σ x_i w_ij + b_j. The weight is (inputs, outputs)."""
    return inputs * (share(relevance, outputs) @ weight.T)


def through_sum(parts: list[Tensor], relevance: Tensor) -> list[Tensor]:
    total = sum(parts)
    return [part * share(relevance, total) for part in parts]


def through_product(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Uniform rule of O = A V: R_ij(A) = Σ_p A_ij V_jp R_ip / (2 O_ip), and so for V."""
    half = share(relevance, left @ right) / 2
    return left * (half @ right.mT), right * (left.mT @ half)


def through_softmax(inputs: Tensor, outputs: Tensor, relevance: Tensor) -> Tensor:
    """R_i = x_i (R_i − s_i Σ R_j); what is masked has none."""
    total = relevance.sum(-1, keepdim=True)
    return torch.where(outputs == 0, 0.0, inputs * (relevance - outputs * total))


def attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Any]:
    """Causal attention, (heads, positions, width); and its way down."""
    key = key * query.shape[-1] ** -0.5
    scores = query @ key.mT
    visible = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)

    def down(relevance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_weights, of_values = through_product(weights, value, relevance)
        of_scores = through_softmax(scores, weights, of_weights)
        of_query, of_key = through_product(query, key.mT, of_scores)
        return of_query, of_key.mT, of_values

    return weights @ value, down


def heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(0, 1)


def merged(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


def layer_norm(x: Tensor, norm: Any) -> tuple[Tensor, Any]:
    """The deviation is a constant; centring, scaling and shifting are linear."""
    scale = norm.weight / (x.var(-1, keepdim=True, correction=0) + norm.eps).sqrt()
    outputs = (x - x.mean(-1, keepdim=True)) * scale + norm.bias

    def down(relevance: Tensor) -> Tensor:
        back = share(relevance, outputs) * scale
        return x * (back - back.mean(-1, keepdim=True))

    return outputs, down


def gpt2(model: Any, embedded: Tensor, target: int) -> Tensor:
    """Relevance of the embeddings, (positions, width), to the last position's target logit."""
    body = model.transformer
    positions = body.wpe.weight[: len(embedded)]
    x = embedded + positions
    downs = []
    for block in body.h:
        attn, ffn = block.attn, block.mlp
        normed, down_norm = layer_norm(x, block.ln_1)
        qkv = normed @ attn.c_attn.weight + attn.c_attn.bias
        mixed, down_mix = attention(*(heads(part, attn.num_heads) for part in qkv.chunk(3, -1)))
        mixed = merged(mixed)
        out = mixed @ attn.c_proj.weight + attn.c_proj.bias
        middle = x + out
        second, down_second = layer_norm(middle, block.ln_2)
        pre = second @ ffn.c_fc.weight + ffn.c_fc.bias
        neurons = ffn.act(pre)
        end = neurons @ ffn.c_proj.weight + ffn.c_proj.bias

        def down(relevance: Tensor, v: dict[str, Any]) -> Tensor:
            attn, ffn = v["attn"], v["ffn"]
            stay, r = through_sum([v["middle"], v["end"]], relevance)
            r = through_linear(v["neurons"], ffn.c_proj.weight, v["end"], r)
            # The identity rule: the activation hands relevance on.
            r = through_linear(v["second"], ffn.c_fc.weight, v["pre"], r)
            stay, r = through_sum([v["x"], v["out"]], stay + v["down_second"](r))
            r = through_linear(v["mixed"], attn.c_proj.weight, v["out"], r)
            parts = v["down_mix"](heads(r, attn.num_heads))
            r = torch.cat([merged(part) for part in parts], -1)
            r = through_linear(v["normed"], attn.c_attn.weight, v["qkv"], r)
            return stay + v["down_norm"](r)

        downs.append((down, dict(locals())))
        x = middle + end
    normed, down_norm = layer_norm(x, body.ln_f)
    weight = model.lm_head.weight.T
    logits = normed @ weight
    relevance = torch.zeros_like(logits)
    relevance[-1, target] = logits[-1, target]
    relevance = down_norm(through_linear(normed, weight, logits, relevance))
    for down, values in reversed(downs):
        relevance = down(relevance, values)
    return through_sum([embedded, positions], relevance)[0]


def rms_norm(x: Tensor, norm: Any) -> Tensor:
    """Its relevance passes unchanged: each number is multiplied by a constant."""
    return x * (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt() * norm.weight


def llama(model: Any, embedded: Tensor, target: int) -> Tensor:
    """Relevance of the embeddings, (positions, width), to the last position's target logit."""
    body, config = model.model, model.config
    rotation = rotations(body, len(embedded), config.hidden_size // config.num_attention_heads)
    count, shared = config.num_attention_heads, config.num_key_value_heads
    x, downs = embedded, []
    for block in body.layers:
        attn, ffn = block.self_attn, block.mlp
        normed = rms_norm(x, block.input_layernorm)
        q, k, v = (normed @ p.weight.T for p in (attn.q_proj, attn.k_proj, attn.v_proj))
        turned_q, turned_k = rotated(heads(q, count), rotation), rotated(heads(k, shared), rotation)
        repeats = count // shared
        mixed, down_mix = attention(
            turned_q,
            turned_k.repeat_interleave(repeats, 0),
            heads(v, shared).repeat_interleave(repeats, 0),
        )
        mixed = merged(mixed)
        out = mixed @ attn.o_proj.weight.T
        middle = x + out
        second = rms_norm(middle, block.post_attention_layernorm)
        gate, up = second @ ffn.gate_proj.weight.T, second @ ffn.up_proj.weight.T
        neurons = torch.nn.functional.silu(gate) * up
        end = neurons @ ffn.down_proj.weight.T

        def down(relevance: Tensor, v: dict[str, Any]) -> Tensor:
            attn, ffn, second, normed = v["attn"], v["ffn"], v["second"], v["normed"]
            stay, r = through_sum([v["middle"], v["end"]], relevance)
            # A gate: half to each factor; the activation hands its half on.
            half = through_linear(v["neurons"], ffn.down_proj.weight.T, v["end"], r) / 2
            r = through_linear(second, ffn.gate_proj.weight.T, v["gate"], half)
            r = r + through_linear(second, ffn.up_proj.weight.T, v["up"], half)
            stay, r = through_sum([v["x"], v["out"]], stay + r)
            r = heads(through_linear(v["mixed"], attn.o_proj.weight.T, v["out"], r), count)
            of_q, of_k, of_v = v["down_mix"](r)
            of_k, of_v = (part.unflatten(0, (shared, -1)).sum(1) for part in (of_k, of_v))
            of_q = unrotated(heads(v["q"], count), v["turned_q"], rotation, of_q)
            of_k = unrotated(heads(v["k"], shared), v["turned_k"], rotation, of_k)
            projections = (attn.q_proj, v["q"], of_q), (attn.k_proj, v["k"], of_k)
            for projection, outputs, part in (*projections, (attn.v_proj, v["v"], of_v)):
                weight = projection.weight.T
                stay = stay + through_linear(normed, weight, outputs, merged(part))
            return stay

        downs.append((down, dict(locals())))
        x = middle + end
    normed = rms_norm(x, body.norm)
    weight = model.lm_head.weight.T
    logits = normed @ weight
    relevance = torch.zeros_like(logits)
    relevance[-1, target] = logits[-1, target]
    relevance = through_linear(normed, weight, logits, relevance)
    for down, values in reversed(downs):
        relevance = down(relevance, values)
    return relevance


def rotations(body: Any, positions: int, width: int) -> Tensor:
    """Each position's rotation as a matrix, (positions, width, width), applied as x @ matrix."""
    basis = torch.eye(width, dtype=torch.float64)
    cos, sin = body.rotary_emb(basis[None], torch.arange(positions)[None])
    half = torch.cat([basis[:, width // 2 :] * -1, basis[:, : width // 2]], -1)
    return basis * cos[0, :, None].double() + half * sin[0, :, None].double()


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    return torch.einsum("hpi,pij->hpj", x, rotation)


def unrotated(x: Tensor, outputs: Tensor, rotation: Tensor, relevance: Tensor) -> Tensor:
    return x * torch.einsum("hpj,pij->hpi", share(relevance, outputs), rotation)
