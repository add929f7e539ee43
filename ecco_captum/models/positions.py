r"""How many positions a model has, read off the tables that it looks positions up in."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from ecco_captum.models.anatomy.verify import TEXTS, tiny_prompt
from ecco_captum.models.modes import evaluation_mode, on_test_texts

_FOUND: WeakKeyDictionary[PreTrainedModel, dict[str, int | None]] = WeakKeyDictionary()
_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def position_limit(model: PreTrainedModel, text: str = "input_ids") -> int | None:
    """The most tokens that a model reads in one of its texts; None where nothing limits them.

    A table of positions ends somewhere, and may not start at its first row. Positions that are
    computed (rotary, sinusoidal) go on, but the model was made for as many as its config says.
    Of relative ones the config's number says nothing, unless a longer text does not run.
    """
    if model not in _FOUND:
        with evaluation_mode(model):
            _FOUND[model] = on_test_texts(model, lambda: _limits(model))
    return _FOUND[model].get(text)


@torch.no_grad()
def _limits(model: PreTrainedModel) -> dict[str, int | None]:
    whole = {name: value[:1] for name, value in tiny_prompt(model).items() if name in TEXTS}
    named = _named(model)
    watcher = _Watcher(model, {name: ids.shape[1] for name, ids in whole.items()}, named)
    try:
        with watcher:
            model(**whole, use_cache=False)
    except Exception:  # of any kind: others say what is wrong with such a model
        return dict.fromkeys(whole, named)
    if named is not None and not watcher.tables and not watcher.computed:
        named = named if _ends_at(model, list(whole), named) else None
    return {text: min(watcher.tables.get(text, ()), default=named) for text in whole}


def _named(model: PreTrainedModel) -> int | None:
    config = model.config.get_text_config()
    lengths = (getattr(config, name, None) for name in _NAMES)
    return next((n for n in lengths if isinstance(n, int) and n > 0), None)


class _Watcher(TorchDispatchMode):
    """Keeps the limits of tables that positions are looked up in, by the text that they are of."""

    def __init__(
        self, model: PreTrainedModel, lengths: Mapping[str, int], named: int | None
    ) -> None:
        super().__init__()
        self.model, self.lengths, self.named = model, lengths, named
        self.tables: dict[str, set[int]] = {}
        self.computed = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = {}
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ("sin", "cos", "polar"):
            self.computed = True
        elif name == "embedding":
            self.look_up(args[0], 0, args[1])
        elif name == "index_select":
            self.look_up(args[0], args[1], args[2])
        elif name == "index":
            self.look_up(args[0], 0, args[1][0])
        elif name == "gather":
            self.look_up(args[0], args[1], args[2].movedim(args[1], -1)[..., 0, :])
        return func(*args, **(kwargs or {}))

    def look_up(self, table: Tensor, dim: int, indices: Any) -> None:
        if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.ndim < 1:
            return
        each = indices.reshape(-1, indices.shape[-1])
        if not len(each) or bool((each != each[0]).any()):
            return
        row = each[0].tolist()
        # A model may have padded the text: then the longest of its texts, behind what is compared.
        fitting = [text for text, length in self.lengths.items() if length == len(row)]
        text = fitting[0] if fitting else max(self.lengths, key=self.lengths.__getitem__)
        length = self.lengths[text]
        limit = table.shape[dim] - row[0]
        counted = row[:length] == list(range(row[0], row[0] + length))
        # What is no table of the model's own was computed from the text.
        if counted and (limit == self.named or self.is_constant(table)):
            self.tables.setdefault(text, set()).add(limit)

    def is_constant(self, table: Tensor) -> bool:
        # Looked at now: weights that are offloaded are in place only while they are used.
        constants = itertools.chain(self.model.parameters(), self.model.buffers())
        return table.data_ptr() in {constant.data_ptr() for constant in constants}


def _ends_at(model: PreTrainedModel, texts: Sequence[str], length: int) -> bool:
    """Whether texts one longer do not run: tried on a copy that has no weights, so it is cheap."""

    def runs(length: int) -> bool:
        ids = torch.ones(1, length, dtype=torch.long)
        try:
            twin(**dict.fromkeys(texts, ids), use_cache=False)
        except Exception:  # of any kind, by the model's own code
            return False
        return True

    with torch.device("meta"):
        try:
            twin = type(model)(copy.deepcopy(model.config)).eval()
        except Exception:  # a class of the user's own that takes more than a config
            return True
        return not (runs(length) and runs(length + 1))
