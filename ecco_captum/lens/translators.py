r"""Translators: affine maps that were trained to read one layer's hidden states as the last one's.

Belrose et al. 2023, *Eliciting Latent Predictions from Transformers with the Tuned Lens*,
equation 8; what is read here are the checkpoints of the library ``tuned-lens``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecco_captum.models.language_model import LanguageModel

_WEIGHTS, _CONFIG = "params.pt", "config.json"


@dataclass(frozen=True)
class Translators:
    r"""One affine map for each layer but the last.

    Args:
        weights (Mapping): from a row of the stream (0 is the embedding) to a pair: the matrix
            (width, width) and the shift (width,). A state h becomes ``h + matrix @ h + shift``.
        name (str): what it is called in titles.
    """

    weights: Mapping[int, tuple[Tensor, Tensor]]
    name: str = "tuned lens"

    def __call__(self, row: int, hidden: Tensor) -> Tensor:
        """Translates hidden states, (…, width); those of the last layer stay as they are."""
        if row not in self.weights:
            return hidden
        matrix, shift = (weight.to(hidden.device, hidden.dtype) for weight in self.weights[row])
        return hidden + torch.nn.functional.linear(hidden, matrix, shift)


def read_translators(lm: LanguageModel, lens: Any) -> Translators | None:
    r"""Reads the argument ``lens``.

    Args:
        lm (LanguageModel): the model whose states are translated.
        lens (str, PathLike, Mapping or None): the folder that ``TunedLens.save`` of the library
            tuned-lens wrote (``config.json`` and ``params.pt``), or its state dict: names such as
            ``"0.weight"`` and ``"0.bias"`` (with or without ``layer_translators.`` before them),
            number k for the state that enters block k. None for the identity, the logit lens.

    Returns:
        Translators, or None for the identity.

    Raises:
        FileNotFoundError: if there is no such folder.
        TypeError: if it is neither a folder nor a state dict.
        ValueError: if its maps do not fit the model's blocks and width.
    """
    if lens is None:
        return None
    name = "tuned lens"
    if isinstance(lens, str | os.PathLike):
        folder = Path(lens)
        name = f"tuned lens {folder.name!r}"
        state = _state(folder)
    elif isinstance(lens, Mapping):
        state = {_plain(name): weight for name, weight in lens.items()}
        state = {name: weight for name, weight in state.items() if not name.startswith("unembed.")}
    else:
        raise TypeError(
            f"lens: got a {type(lens).__name__}, accepts the folder of a tuned lens, its state "
            "dict, or None for the logit lens"
        )
    blocks, width = len(lm.anatomy.blocks), lm.anatomy.stack.width
    return Translators(_checked(state, blocks, width, lm.name), name)


def _state(folder: Path) -> Mapping[str, Any]:
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"lens: {str(folder)!r} holds no {' and no '.join(missing)}, accepts a folder that "
            "TunedLens.save() wrote"
        )
    try:
        config = dict(json.loads((folder / _CONFIG).read_text(encoding="utf-8")))
        state = dict(torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True))
    except Exception as error:  # damaged files fail in as many ways as there are formats
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"lens: {str(folder)!r} could not be read ({type(error).__name__}: {reason}); accepts "
            "a folder that TunedLens.save() wrote"
        ) from error
    kind = config.get("lens_type", "linear_tuned_lens")
    if kind != "linear_tuned_lens":
        raise ValueError(f"lens: {str(folder)!r} is a {kind!r}, accepts a linear_tuned_lens")
    return state


def _plain(name: Any) -> str:
    return str(name).removeprefix("layer_translators.")


def _checked(
    state: Mapping[str, Any], blocks: int, width: int, model: str
) -> dict[int, tuple[Tensor, Tensor]]:
    names = {f"{row}.{part}" for row in range(blocks) for part in ("weight", "bias")}
    required = {name for name in names if name.endswith("weight")}
    if not (required <= set(state) <= names):
        raise ValueError(
            f"lens: it has maps named {', '.join(sorted(map(str, state))[:4])}, …, accepts those "
            f"of the {blocks} blocks of {model!r}: 0.weight, 0.bias, … {blocks - 1}.bias; was it "
            "trained for another model?"
        )
    weights = {}
    for row in range(blocks):
        matrix, shift = state[f"{row}.weight"], state.get(f"{row}.bias", torch.zeros(width))
        if not isinstance(matrix, Tensor) or not isinstance(shift, Tensor):
            kinds = f"{type(matrix).__name__} and {type(shift).__name__}"
            raise TypeError(f"lens: map {row} is a {kinds}, accepts torch tensors")
        if not (torch.isfinite(matrix).all() and torch.isfinite(shift).all()):
            raise ValueError(f"lens: map {row} has numbers that are not finite")
        if matrix.shape != (width, width) or shift.shape != (width,):
            raise ValueError(
                f"lens: map {row} has shapes {tuple(matrix.shape)} and {tuple(shift.shape)}, "
                f"accepts ({width}, {width}) and ({width},), the width of {model!r}"
            )
        weights[row] = (matrix.detach(), shift.detach())
    return weights
