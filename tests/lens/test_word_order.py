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
    as_large = sum(lead >= test.lead for lead in test.shuffled)
    assert test.probability == pytest.approx((1 + as_large) / 7)
    assert test.tokens == len(ids) - 2
    assert test.to_pandas()["shuffled"].tolist() == [False] + [True] * 6


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
