r"""What a model says of a text without writing on: words at its masks, or its class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ecco_captum.core.choices import Task
from ecco_captum.generation.scores import class_index
from ecco_captum.generation.tasks import classes_of
from ecco_captum.models.encoding import encode_continuation
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.modes import evaluation_mode


def predict(
    lm: LanguageModel, task: Task, prompt_ids: list[int], wanted: Any | None = None
) -> dict[str, Any]:
    r"""Fills a text's masks or names its class; or scores what is given instead.

    Args:
        lm (LanguageModel): a masked language model or a classifier.
        task (str): ``"masked"`` or ``"classification"``.
        prompt_ids (list of int): the text.
        wanted (str or ids, optional): one token for each mask, or a class. Default: the best.

    Returns:
        dict: ``output_ids``, ``texts``, ``logits``, ``logprobs``, ``ranks``, ``places``, each with
        one item an output.

    Raises:
        ValueError: if the text has no mask, or what is wanted does not fit.
    """
    places = _masks(lm, prompt_ids) if task == "masked" else [-1]
    with evaluation_mode(lm.model), torch.no_grad():
        ids = torch.tensor([prompt_ids], device=lm.device)
        logits = lm.model(input_ids=ids).logits[0].float().cpu()
    if torch.isnan(logits).any():
        raise ValueError(f"lm: the logits of {lm.name!r} are NaN; are its weights?")
    if task == "masked":
        # Counted from the end: some models put positions of their own before the text's.
        rows = logits[[place - len(prompt_ids) for place in places]]
        chosen = rows.argmax(dim=1).tolist() if wanted is None else _fillers(lm, wanted, places)
        texts = [str(lm.tokenizer.decode([token])) for token in chosen]
    else:
        rows = logits[None]
        chosen = [int(rows.argmax()) if wanted is None else class_index(lm, wanted, "continuation")]
        texts = [classes_of(lm)[chosen[0]]]
    own = rows[torch.arange(len(chosen)), chosen]
    return {
        "output_ids": chosen,
        "texts": texts,
        "logits": own.numpy(),
        "logprobs": (own - rows.logsumexp(dim=1)).numpy(),
        "ranks": (1 + (rows > own[:, None]).sum(dim=1)).numpy(),
        "places": np.array(places, dtype=np.int64),
    }


def _masks(lm: LanguageModel, ids: list[int]) -> list[int]:
    mask = lm.tokenizer.mask_token_id
    places = [place for place, token in enumerate(ids) if token == mask]
    if mask is None or not places:
        raise ValueError(
            f"prompt: it has no mask for {lm.name!r} to fill; write "
            f"{lm.tokenizer.mask_token!r} where the word is missing"
        )
    return places


def _fillers(lm: LanguageModel, wanted: Any, places: list[int]) -> list[int]:
    ids = encode_continuation(lm, None, wanted)
    if len(ids) != len(places):
        pieces = [lm.tokenizer.decode([token]) for token in ids]
        raise ValueError(
            f"continuation: it is {len(ids)} tokens ({pieces}) for {len(places)} masks; accepts "
            "one token for each mask"
        )
    return ids
