"""The permutation test of a lead: equal to plain forwards, and blind to nothing but order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ecco_captum import UnsupportedError, order_test
from ecco_captum.models.language_model import LanguageModel

TEXT = "The keys to the cabinet"


def plain_logits(lm: LanguageModel, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return lm.model(torch.tensor([ids])).logits[0, -1].double().numpy()


def test_leads_equal_plain_forwards_over_the_same_orders(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    lm = tiny_lm("gpt2")
    ids = lm.tokenizer(TEXT)["input_ids"]
    watch = [5, 9, 20]
    test = order_test(lm, ids, watch, draws=6, seed=3)
    logits = plain_logits(lm, ids)[watch]
    order = np.argsort(-logits)
    assert test.lead == pytest.approx(logits[order[0]] - logits[order[1]], abs=1e-4)
    rng, middle = np.random.default_rng(3), np.array(ids[1:-1])
    for lead in test.shuffled:
        shuffled = plain_logits(lm, [ids[0], *rng.permutation(middle).tolist(), ids[-1]])[watch]
        rest = max(np.delete(shuffled, order[0]))
        assert lead == pytest.approx(shuffled[order[0]] - rest, abs=1e-4)
    assert test.tokens == len(ids) - 2
    assert test.to_pandas()["shuffled"].tolist() == [False] + [True] * 6


def test_the_same_choice_is_made_in_every_order(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Each order's own winner, against that token's mean lead in all other orders."""
    lm = tiny_lm("gpt2")
    ids = lm.tokenizer(TEXT)["input_ids"]
    rng, middle = np.random.default_rng(3), np.array(ids[1:-1])
    orders = [middle, *(rng.permutation(middle) for _ in range(6))]
    texts = [plain_logits(lm, [ids[0], *order.tolist(), ids[-1]]) for order in orders]
    for watch in ([5, 9, 20], None):
        logits = [row if watch is None else row[watch] for row in texts]
        excess = []
        for o, own in enumerate(logits):
            winner = int(own.argmax())
            leads = [row[winner] - np.delete(row, winner).max() for row in logits]
            excess.append(leads[o] - np.mean(np.delete(leads, o)))
        test = order_test(lm, ids, watch, draws=6, seed=3)
        np.testing.assert_allclose(test.excess, excess, atol=1e-4)
        assert test.p_value == (1 + sum(np.array(excess[1:]) >= excess[0])) / 7


def test_random_orders_that_play_the_text_are_told_apart_no_more_than_by_chance(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    """What was read as the text is one of the orders: 5% of 100, and three deviations."""
    lm = tiny_lm("llama")
    rng = np.random.default_rng(0)
    claims = 0
    for seed in range(100):
        ids = rng.integers(4, 60, 9).tolist()
        claims += order_test(lm, ids, draws=19, seed=seed).verdict == "supported"
    assert claims <= 5 + 3 * np.sqrt(100 * 0.05 * 0.95)


def test_a_text_of_one_word_repeated_has_no_other_order(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    test = order_test(tiny_lm("gpt2"), [7] * 6, [5, 9], draws=4)
    np.testing.assert_allclose(test.shuffled, test.lead, atol=1e-5)


@pytest.mark.model
def test_agreement_needs_no_order_and_the_sentence_says_so(real_lm: LanguageModel) -> None:
    test = order_test(real_lm, TEXT, [" is", " are"])
    assert test.watch_texts == (" are", " is")
    assert test.sentence.startswith("“are” leads by ")
    assert test.sentence in test.fragment()


def test_what_it_refuses(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(UnsupportedError, match="prompt: got 3 tokens, accepts 4 or more"):
        order_test(lm, [1, 2, 3], [5, 9])
    with pytest.raises(ValueError, match="watch: got one token, accepts two or more"):
        order_test(lm, [1, 2, 3, 4], [5])
    with pytest.raises(ValueError, match="draws: got 0"):
        order_test(lm, [1, 2, 3, 4], [5, 9], draws=0)
    with pytest.raises(UnsupportedError, match="is not causal"):
        order_test(tiny_lm("bert", "masked"), "The keys", [5, 9])
