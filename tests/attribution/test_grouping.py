"""Groups of tokens: scores are added up, nothing is lost but what pieces gave each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from method_samples import fresh_subject, subject

from ecco_captum import Attribution, force_decode, generate, saliency
from ecco_captum.attribution.token_groups import message_spans, word_spans
from ecco_captum.core.tokens import Tokens
from ecco_captum.models.language_model import LanguageModel

MakeLM = Callable[..., LanguageModel]
TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>' }}{% endif %}"
)


@pytest.fixture(scope="module")
def written() -> Attribution:
    lm, _ = subject("causal:gpt2")
    text = "The keys to the cabinet", " unbelievably are on the table"
    return saliency(lm, force_decode(lm, *text), aggregate="sum")


def edges_of(attribution: Attribution) -> np.ndarray:
    assert attribution.spans is not None
    return attribution.spans


def test_words_are_what_is_between_spaces(written: Attribution) -> None:
    words = [text.strip() for text in written.by_word().tokens.texts]
    assert [word for word in words if word] == (
        ["The", "keys", "to", "the", "cabinet", "unbelievably", "are", "on", "the", "table"]
    )


def test_totals_are_conserved_but_for_what_pieces_gave_each_other(written: Attribution) -> None:
    grouped, edges = written.by_word(), edges_of(written.by_word())
    start = written.tokens.prompt_length
    assert np.array_equal(edges[:, 0], np.r_[0, edges[:-1, 1]])
    assert edges[-1, 1] == len(written.tokens)
    assert len(grouped.tokens) == len(edges) == grouped.scores.shape[1]
    assert len(grouped.scores) < len(written.scores)
    dropped = 0.0
    for row, group in zip(grouped.scores, np.asarray(grouped.outputs), strict=True):
        first, last = edges[grouped.tokens.prompt_length + group]
        pieces = written.scores[first - start : last - start].astype(np.float64)
        for value, (a, b) in zip(row, edges, strict=True):
            expected = pieces[:, a:b].sum() if b <= first else 0.0
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
        dropped += pieces[:, first:].sum()
    total = written.scores.astype(np.float64).sum()
    assert grouped.scores.astype(np.float64).sum() + dropped == pytest.approx(total, rel=1e-5)
    assert dropped != 0


def test_the_original_is_untouched(written: Attribution) -> None:
    before, outputs = written.scores.copy(), np.array(written.outputs)
    grouped = written.by_word()
    np.testing.assert_array_equal(written.scores, before)
    np.testing.assert_array_equal(written.outputs, outputs)
    assert written.spans is None
    assert grouped.generation is written.generation
    assert grouped.method == written.method
    assert grouped.deltas is None


def test_single_tokens_are_groups_that_change_nothing(written: Attribution) -> None:
    for spans in ([], [(0, 1)], [(i, i + 1) for i in range(len(written.tokens))]):
        grouped = written.by_span(spans)
        np.testing.assert_array_equal(grouped.scores, written.scores)
        np.testing.assert_array_equal(grouped.outputs, written.outputs)
        assert grouped.tokens.texts == written.tokens.texts


def test_spans_in_any_order(written: Attribution) -> None:
    grouped = written.by_span([(4, 6), (0, 3)])
    assert edges_of(grouped)[:3].tolist() == [[0, 3], [3, 4], [4, 6]]
    expected = written.scores[:, :3].sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(grouped.scores[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert len(grouped.scores) == len(written.scores)
    texts = written.tokens.texts
    assert grouped.tokens.texts[:3] == ("".join(texts[:3]), texts[3], "".join(texts[4:6]))
    np.testing.assert_allclose(np.abs(grouped.shares).sum(axis=1), 1, rtol=1e-6)
    assert (grouped.known == grouped.tokens.prompt_length + np.asarray(grouped.outputs)).all()


def test_some_outputs_of_a_text(written: Attribution) -> None:
    lm, _ = subject("causal:gpt2")
    some = saliency(lm, written.generation, aggregate="sum", outputs=[0, 1, 6])
    start = some.tokens.prompt_length
    grouped = some.by_span([(start, start + 3), (start + 5, start + 8)])
    # Outputs 0 and 1 are in the first group, 6 in the fourth.
    assert np.asarray(grouped.outputs).tolist() == [0, 3]
    prompt = some.scores[:, :start].astype(np.float64)
    np.testing.assert_allclose(grouped.scores[0, :start], prompt[:2].sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(grouped.scores[1, :start], prompt[2], rtol=1e-5)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 3), (2, 5)], r"spans: \(2, 5\) overlaps \(0, 3\)"),
        ([(3, 3)], r"spans: got \(3, 3\), accepts 0 ≤ start < end"),
        ([(3, 1)], r"spans: got \(3, 1\)"),
        ([(-1, 2)], r"spans: got \(-1, 2\)"),
        ([(0, 999)], r"spans: got \(0, 999\)"),
    ],
)
def test_errors(written: Attribution, spans: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        written.by_span(spans)


def test_a_span_cannot_cross_into_the_outputs(written: Attribution) -> None:
    start = written.tokens.prompt_length
    with pytest.raises(ValueError, match=f"crosses position {start}, where the outputs start"):
        written.by_span([(start - 1, start + 1)])


def test_groups_are_not_grouped_again(written: Attribution) -> None:
    for again in (Attribution.by_word, Attribution.by_message, lambda a: a.by_span([(0, 2)])):
        with pytest.raises(ValueError, match=r"grouped already|no chat"):
            again(written.by_word())


def test_messages_of_a_chat(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    chat = [
        {"role": "system", "content": "The keys"},
        {"role": "user", "content": "the cabinet are on"},
        {"role": "assistant", "content": "table"},
    ]
    lm.tokenizer.chat_template = TEMPLATE
    try:
        generation = generate(lm, chat, max_new_tokens=3)
        starts = [
            len(lm.tokenizer.apply_chat_template(chat[:n], return_dict=True)["input_ids"])
            for n in (1, 2)
        ]
    finally:
        lm.tokenizer.chat_template = None
    attribution = saliency(lm, generation, aggregate="sum")
    grouped = attribution.by_message()
    prompt = len(generation.prompt_ids)
    assert message_spans(generation) == [(0, starts[0]), tuple(starts), (starts[1], prompt)]
    assert grouped.tokens.prompt_length == 3
    assert "cabinet" in grouped.tokens.texts[1]
    assert grouped.scores.shape == (3, 6)
    parts = np.split(attribution.scores[:, :prompt].astype(np.float64), starts, axis=1)
    expected = np.stack([part.sum(axis=1) for part in parts], axis=1)
    np.testing.assert_allclose(grouped.scores[:, :3], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(grouped.scores[:, 3:], attribution.scores[:, prompt:])
    with pytest.raises(ValueError, match="its prompt was no chat"):
        saliency(lm, generate(lm, [5, 6], max_new_tokens=1)).by_message()


@pytest.mark.parametrize("name", ["seq2seq:t5", "masked:bert", "classification:bert"])
def test_other_tasks_keep_their_totals(name: str) -> None:
    attribution = saliency(*subject(name), aggregate="sum")
    start = attribution.tokens.prompt_length
    grouped = attribution.by_span([(0, 2), (3, start)])
    assert grouped.tokens.prompt_length == 3
    whole = attribution.scores.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(grouped.scores.astype(np.float64).sum(axis=1), whole, rtol=1e-3)


def test_words_at_two_masks_are_two_words() -> None:
    lm, _ = fresh_subject("masked:bert")
    ids = lm.tokenizer.convert_tokens_to_ids(["keys", "table"])
    generation = force_decode(lm, "the [MASK] to the [MASK] are", ids)
    grouped = saliency(lm, generation, aggregate="sum").by_word()
    assert len(grouped.scores) == 2
    assert [text.strip() for text in grouped.tokens.texts[-2:]] == ["keys", "table"]


@pytest.mark.parametrize(
    ("texts", "prompt", "expected"),
    [
        ((" the", " ca", "binet", ".", " It"), 5, [(0, 1), (1, 3), (3, 4), (4, 5)]),
        ((" un", "believ", "ably"), 2, [(0, 2), (2, 3)]),
        (("don", "'t", " stop"), 3, [(0, 2), (2, 3)]),
        (("3", ".", "14"), 3, [(0, 1), (1, 2), (2, 3)]),
        ((" 猫", "", "", "a"), 4, [(0, 4)]),
        (("x",), 1, [(0, 1)]),
    ],
)
def test_word_spans(texts: tuple[str, ...], prompt: int, expected: list[tuple[int, int]]) -> None:
    assert word_spans(Tokens(np.arange(len(texts)), texts, prompt)) == expected
