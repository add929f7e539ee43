r"""Input saliency: where each output token came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from ecco_captum.generation import Generation
from ecco_captum.gradients import passages
from ecco_captum.methods import METHODS, Method, method_named
from ecco_captum.models import LanguageModel, quiet
from ecco_captum.records import Record
from ecco_captum.scoring import Passage, embedded, target_scores
from ecco_captum.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Attribution(Record):
    r"""How much each earlier token moved the score of each output token.

    Args:
        generation (Generation): the text that was explained.
        scores (array): (outputs, positions), float32, the L2 norm over the embedding of gradient ×
            input, in logits, unnormalised. Positions are the prompt and the outputs in order; row t
            covers those before output t, the rest is 0.
        method (str): the method's name.
    """

    generation: Generation
    scores: np.ndarray
    method: str

    @property
    def tokens(self) -> Tokens:
        """Prompt and outputs in order."""
        return self.generation.tokens

    @property
    def shares(self) -> np.ndarray:
        r"""(outputs, positions), float64, each row of the scores over its sum: a row adds up to 1.

        A row of zeros (nothing moved the score) has shares of 0.
        """
        scores = self.scores.astype(np.float64)
        sums = scores.sum(axis=1, keepdims=True)
        return np.divide(scores, sums, out=np.zeros_like(scores), where=sums > 0)

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a pair: output, output_token, position, source_token, score, share."""
        import pandas as pd

        start, shares = self.tokens.prompt_length, self.shares
        pairs = [(t, s) for t in range(len(self.scores)) for s in range(start + t)]
        output, position = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
        texts = np.array(self.tokens.texts, dtype=object)
        return pd.DataFrame(
            {
                "output": output,
                "output_token": texts[start + output],
                "position": position,
                "source_token": texts[position],
                "score": self.scores[output, position],
                "share": shares[output, position],
            }
        )

    @property
    def subtitle(self) -> str:
        """What a view of this record draws: the model, the method and the aggregation."""
        return f"{self.generation.model} · {METHODS[self.method].label}, L2 over the embedding"

    @property
    def unit(self) -> str:
        """What a score is, and its unit."""
        return f"L2 norm of {METHODS[self.method].label}, in logits, unnormalised"

    @property
    def note(self) -> str:
        """What the picture does not claim."""
        return (
            "A share says how strongly the token's logit reacts to an earlier token, to first "
            "order; it does not say that the earlier token caused it. Remove that token to test it."
        )

    def _title(self) -> str:
        return "Where did each token come from?"

    def _html(self) -> str:
        from ecco_captum.saliency_html import saliency_view

        words = {"subtitle": self.subtitle, "unit": self.unit, "note": self.note}
        return saliency_view(self.tokens, self.scores, title=self._title(), **words)

    def __repr__(self) -> str:
        outputs, positions = self.scores.shape
        return f"Attribution({self.method}, {outputs} outputs × {positions} positions)"


def saliency(
    lm: LanguageModel,
    generation: Generation,
    *,
    method: str = "input_x_gradient",
    memory_budget: int = 2**30,
    progress: bool | None = None,
) -> Attribution:
    r"""Attributes each output token's logit to the tokens before it.

    The score of output t is its logit where the model chose it. Captum's method gives an
    attribution to each number of each earlier token's embedding (the embedding module's output);
    their L2 norm is the token's saliency: :math:`\lVert \nabla_{X_i} f_t \odot X_i \rVert_2`, the
    equation of Ecco's paper (Alammar 2021, section 2). Earlier outputs are inputs too.

    Targets go through the model together, a chunk at a time, and each chunk reads only the prefix
    that it needs; the numbers equal those of one pass a token up to rounding.

    Args:
        lm (LanguageModel): the model that wrote, or would have written, the text.
        generation (Generation): the text, from :func:`generate` or :func:`force_decode`.
        method (str, optional): ``"input_x_gradient"``.
        memory_budget (int, optional): bytes that one chunk's gradients may take, beside the model
            and one forward's activations. A lower budget costs time.
        progress (bool, optional): whether to show a progress bar. Default: on a terminal and in
            notebooks.

    Returns:
        Attribution: scores of shape (outputs, prompt + outputs).

    Raises:
        TypeError: if the model is an encoder–decoder or has no head.
        ValueError: if the method is unknown, the ids are not the model's, or gradients are NaN.

    Examples::

        >>> attribution = saliency(lm, generate(lm, "The capital of France is", max_new_tokens=5))
        >>> attribution.shares[0].argmax()
    """
    chosen = method_named(method)
    _check(lm, generation, memory_budget)
    prompt = len(generation.prompt_ids)
    outputs = len(generation.output_ids)
    scores = np.zeros((outputs, prompt + outputs), dtype=np.float32)
    hidden = None if progress is None else not progress
    bar = tqdm(total=outputs, unit="token", desc="Attributing", leave=False, disable=hidden)
    # A caller's inference_mode would leave nothing to take gradients of.
    with torch.inference_mode(False), quiet(lm.model), bar:
        ids = torch.tensor(generation.tokens.ids[None], device=lm.device)
        embeddings = embedded(lm, ids)
        for passage in passages(lm, ids, prompt, memory_budget):
            rows = _norms(lm, chosen, passage, embeddings)
            scores[passage.outputs, : rows.shape[1]] = rows
            bar.update(len(rows))
    return Attribution(generation, scores, chosen.name)


def _norms(
    lm: LanguageModel, method: Method, passage: Passage, embeddings: torch.Tensor
) -> np.ndarray:
    """(targets, positions): the L2 norm of each token's attribution to each target."""
    explainer = method.build(target_scores(lm, passage))
    inputs = embeddings[:, : passage.ids.shape[1]].detach().requires_grad_()
    attributions = explainer.attribute(inputs)
    wide = torch.promote_types(attributions.dtype, torch.float32)
    norms = torch.linalg.vector_norm(attributions.detach(), dim=-1, dtype=wide)
    if not torch.isfinite(norms).all():
        row = int((~torch.isfinite(norms)).any(dim=1).nonzero()[0])
        raise ValueError(
            f"lm: the gradient of output {passage.first + row} is not finite in {lm.name!r}; are "
            f"its weights? (Their dtype is {lm.model.dtype}; float16 overflows early.)"
        )
    return norms.cpu().numpy()


def _check(lm: LanguageModel, generation: Generation, memory_budget: int) -> None:
    if not isinstance(lm, LanguageModel):
        raise TypeError(f"lm: got a {type(lm).__name__}, accepts what load() or wrap() returns")
    if not isinstance(generation, Generation):
        raise TypeError(
            f"generation: got a {type(generation).__name__}, accepts what generate() or "
            "force_decode() returns"
        )
    if lm.is_encoder_decoder or not lm.model.can_generate():
        raise TypeError(
            f"lm: {lm.name!r} is a {type(lm.model).__name__}; saliency accepts causal language "
            "models"
        )
    if int(generation.tokens.ids.max()) >= lm.vocabulary_size:
        raise ValueError(
            f"generation: it has token ids that {lm.name!r} does not embed; it was made with "
            f"{generation.model!r}"
        )
    length = len(generation.tokens) - 1  # the last output is read by nobody
    if lm.context_length is not None and length > lm.context_length:
        raise ValueError(
            f"generation: it has {length} tokens to read, the context of {lm.name!r} holds "
            f"{lm.context_length}; it was made with {generation.model!r}"
        )
    if any(parameter.is_inference() for parameter in lm.model.parameters()):
        raise ValueError(
            f"lm: {lm.name!r} was built under torch.inference_mode, so no gradient can be taken "
            "through its weights; build it outside"
        )
    if not isinstance(memory_budget, int) or memory_budget < 1:
        raise ValueError(f"memory_budget: got {memory_budget!r}, accepts bytes from 1")
