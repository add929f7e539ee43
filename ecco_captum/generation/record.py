r"""Generation: what a model wrote, or was made to write, token by token, with its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.core.checks import Task
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Generation(Record):
    r"""A prompt and what followed it, with the model's scores.

    Args:
        prompt_ids (array): (prompt,), int64, as the model read them. An encoder–decoder's source.
        output_ids (array): (outputs,), int64, bit for bit what was chosen (or given).
        tokens (Tokens): prompt and outputs in order, as a person reads them.
        logits (array): (outputs,), float32, the model's logit of each output token, before any
            sampling rule touched it.
        logprobs (array): (outputs,), float32, natural logarithm of its probability; NaN of a
            regression's value, which has none.
        ranks (array): (outputs,), int64, its rank in the vocabulary; 1 is the best.
        start_ids (array): (start,), int64, what an encoder–decoder's decoder starts with; empty for
            other models.
        model (str): the model's name.
        settings (dict): what made it: the generation options, or ``{"forced": True}``.
        task (str): what the outputs are: "causal" or "seq2seq" for written tokens, "masked" for
            words at a text's masks, "classification" for a class, whose id is its number.
        places (array, optional): (outputs,), int64, which of the prompt's tokens each output
            stands for, if it fills masks.
        extra_inputs (dict): what else the model reads of the prompt, such as ``token_type_ids``;
            arrays (prompt,), int64.

    Examples::

        >>> generation = generate(lm, "The capital of France is", max_new_tokens=5)
        >>> generation.ranks, len(generation.tokens)
        (array([1, 1, 1, 1, 1]), 10)
    """

    title: ClassVar[str] = "What did the model write?"
    _axes: ClassVar[dict[str, str]] = {
        "output_ids ranks places": "int: outputs",
        "logits logprobs": "float: outputs",
        "prompt_ids": "int: prompt",
        "start_ids": "int: start",
        "tokens": "prompt+outputs",
    }

    prompt_ids: np.ndarray
    output_ids: np.ndarray
    tokens: Tokens
    logits: np.ndarray
    logprobs: np.ndarray
    ranks: np.ndarray
    start_ids: np.ndarray
    model: str
    settings: dict[str, Any]
    task: Task = "causal"
    places: np.ndarray | None = None
    extra_inputs: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, row in self.extra_inputs.items():
            if np.shape(row) != np.shape(self.prompt_ids):
                raise ValueError(
                    f"extra_inputs: {name} has shape {np.shape(row)}, accepts (prompt) = "
                    f"({len(self.prompt_ids)})"
                )

    @property
    def prompt(self) -> str:
        """The prompt as text."""
        return "".join(self.tokens.texts[: len(self.prompt_ids)])

    @property
    def text(self) -> str:
        """The outputs as text."""
        texts = self.tokens.texts[len(self.prompt_ids) :]
        # Words at masks are no running text.
        return ("" if self.places is None else ", ").join(texts)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row an output token: output, token, id, logit, logprob, rank."""
        return data_frame(
            {
                "output": np.arange(len(self.output_ids)),
                "token": self.tokens.texts[len(self.prompt_ids) :],
                "id": self.output_ids,
                "logit": self.logits,
                "logprob": self.logprobs,
                "rank": self.ranks,
            }
        )

    def fragment(self) -> str:
        from ecco_captum.generation.html import generation_view

        return str(generation_view(self))

    def terminal(self) -> list[Any]:
        from ecco_captum.generation.terminal import generation_blocks

        return generation_blocks(self)

    def __repr__(self) -> str:
        sizes = f"{len(self.prompt_ids)} prompt tokens, {len(self.output_ids)} outputs"
        return f"Generation({self.text!r}, {sizes}, {self.model})"
