r"""Whether a preference is for this text, or for its tokens in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.core.checks import check_whole
from ecco_captum.core.errors import UnsupportedError
from ecco_captum.generation.tasks import task_of
from ecco_captum.lens.record import OrderTest
from ecco_captum.lens.watch import rankings_watch
from ecco_captum.models.encoding import Prompt, encode_prompt
from ecco_captum.models.language_model import LanguageModel

if TYPE_CHECKING:
    pass


def order_test(
    lm: LanguageModel, prompt: Prompt, watch: Any, *, draws: int = 39, seed: int = 0
) -> OrderTest:
    r"""Compares the lead of a token with its lead after the same tokens in random orders.

    A permutation test of what :func:`rankings_watch` shows: a lead that stays owes nothing to what
    the text says. The first token, on which models rest attention that they have no use for, and
    the last, which the prediction is read from, stay in their places.

    Args:
        lm (LanguageModel): a causal model.
        prompt (str, list of messages, or ids): the text.
        watch (list of str or int): two or more tokens that could follow, as
            :func:`rankings_watch` takes them. That with the highest logit is the winner, of the
            shuffled texts as well.
        draws (int, optional): how many orders. Default: 39, with which p is at least 1 in 40
        seed (int, optional): of the orders. Default: 0

    Returns:
        OrderTest: the lead, and the leads after shuffled texts.

    Raises:
        TypeError: if the model is not causal.
        ValueError: if fewer than two tokens are watched, a watched text is not one token, or the
            text has fewer than four tokens, which leaves no other order.

    Examples::

        >>> test = order_test(lm, "The keys to the cabinet", [" is", " are"])
        >>> test.watch_texts[0], len(test.shuffled)
        (' are', 39)
    """
    check_whole("draws", draws)
    check_whole("seed", seed, least=0)
    if task_of(lm) != "causal":
        raise UnsupportedError(f"lm: {lm.name!r} is not causal, accepts a model that writes on")
    ids = [int(item) for item in encode_prompt(lm, prompt)]
    if len(ids) < 4:
        raise UnsupportedError(
            f"prompt: got {len(ids)} tokens, accepts 4 or more, two to be shuffled"
        )
    middle, rng = np.array(ids[1:-1]), np.random.default_rng(seed)
    orders = [middle, *(rng.permutation(middle) for _ in range(draws))]
    texts = [[ids[0], *order.tolist(), ids[-1]] for order in orders]
    watched = [rankings_watch(lm, text, watch, layers=-1) for text in texts]
    logits = np.array([item.logits[-1] for item in watched], dtype=np.float64)
    if logits.shape[1] < 2:
        raise ValueError("watch: got one token, accepts two or more, one of which leads")
    winner = int(logits[0].argmax())
    leads = logits[:, winner] - np.delete(logits, winner, axis=1).max(axis=1)
    names = list(watched[0].watch_texts)
    return OrderTest(
        watch_texts=(names.pop(winner), *names),
        lead=float(leads[0]),
        shuffled=leads[1:],
        tokens=len(middle),
        model=lm.name,
        settings={"seed": seed},
    )
