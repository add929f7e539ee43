r"""Names of attribution methods, and which of them a model can do, as far as its config tells.

Nothing here imports torch, so that a wrong name is refused before a model is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

_ATTENTION = ("attention", "attention_rollout")
_NEVER = ("lrp", "guided_gradcam")

NAMES = (
    *("input_x_gradient", "saliency", "integrated_gradients", "gradient_shap", "smooth_grad"),
    *("deep_lift", "deep_lift_shap", "guided_backprop", "deconvolution", "attn_lrp", "gim"),
    *("feature_ablation", "occlusion", "shapley_value_sampling", "kernel_shap", "lime"),
    *(*_ATTENTION, *_NEVER),
)
"""All methods; the last two run on no language model, and say why."""

ALIASES = {
    "grad_x_input": "input_x_gradient",
    "gradient": "saliency",
    "ig": "integrated_gradients",
    "dl": "deep_lift",
    "dls": "deep_lift_shap",
    "gb": "guided_backprop",
    "gg": "guided_gradcam",
    "deconv": "deconvolution",
    "gs": "gradient_shap",
    "layer_relevance_propagation": "lrp",
    "attnlrp": "attn_lrp",
    "smoothgrad": "smooth_grad",
    "rollout": "attention_rollout",
    "shapley": "shapley_value_sampling",
}
"""Ecco's names, and common ones."""

# What configs call the number of attention's heads, and kinds of models whose heads are others.
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")
_OTHER_HEADS = ("mamba", "xlstm", "rwkv")


def possible_names(config: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    r"""Returns the methods that a model can do, as far as its config tells.

    Args:
        config (Mapping, optional): as in ``config.json``. Default: what some language model can do
    """
    reads = config is None or (_has_attention(config) and not config.get("is_encoder_decoder"))
    left_out = _NEVER if reads else (*_NEVER, *_ATTENTION)
    return tuple(name for name in NAMES if name not in left_out)


def check_name(name: str, config: Mapping[str, Any] | None = None) -> str:
    r"""Returns what a name means, one of ``NAMES``.

    Args:
        name (str): of a method, or another name of it.
        config (Mapping, optional): a model's, as in ``config.json``.

    Raises:
        ValueError: if there is no such method; names those that the model can do.
    """
    meant = ALIASES.get(name, name)
    if meant in NAMES:
        return meant
    possible = possible_names(config)
    raise ValueError(
        f"method: got {name!r}{_suggestion(name, possible)}, accepts "
        f"{', '.join(map(repr, possible))}"
    )


def _suggestion(name: str, possible: tuple[str, ...]) -> str:
    known = {alias: meant for alias, meant in ALIASES.items() if meant in possible}
    spelled = name.lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(spelled, [*possible, *known], n=1, cutoff=0.6)
    return f" (did you mean {known.get(near[0], near[0])!r}?)" if near else ""


def _has_attention(config: Mapping[str, Any]) -> bool:
    inner = config.get("text_config")
    config = inner if isinstance(inner, Mapping) else config
    kind = str(config.get("model_type", ""))
    other = any(part in kind for part in _OTHER_HEADS)
    return not other and any(config.get(name) for name in _HEADS)
