"""From prompts to ids: special tokens once, continuations cut as they stand behind the prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from ecco_captum.models.encoding import encode_continuation, encode_prompt
from ecco_captum.models.language_model import LanguageModel

MakeLM = Callable[..., LanguageModel]
TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)


@pytest.fixture(scope="module")
def llama(tiny_lm: MakeLM) -> LanguageModel:
    return tiny_lm("llama")


@pytest.fixture(scope="module")
def gpt2(tiny_lm: MakeLM) -> LanguageModel:
    return tiny_lm("gpt2")


def test_special_tokens_come_once(llama: LanguageModel) -> None:
    plain = encode_prompt(llama, "The keys").ids
    assert plain[0] == llama.tokenizer.bos_token_id
    assert encode_prompt(llama, "<s>The keys").ids.count(llama.tokenizer.bos_token_id) == 1
    # What the tokenizer itself gives, for a text that does not bring the token.
    assert plain == llama.tokenizer("The keys")["input_ids"]


def test_a_chat_goes_through_the_template_and_keeps_its_marks(llama: LanguageModel) -> None:
    messages = [{"role": "user", "content": "The keys"}]
    llama.tokenizer.chat_template = TEMPLATE
    try:
        ids = encode_prompt(llama, messages).ids
        rendered = llama.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        # A chat and the same chat rendered by the user are the same prompt.
        assert ids == encode_prompt(llama, rendered).ids
        assert ids.count(llama.tokenizer.bos_token_id) == 2
        with pytest.raises(ValueError, match="'role' and 'content'"):
            encode_prompt(llama, [{"text": "hello"}])
    finally:
        llama.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        encode_prompt(llama, messages)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, lambda ids: torch.tensor([ids])])
def test_ids_are_taken_as_they_are(gpt2: LanguageModel, make: Callable[[list[int]], Any]) -> None:
    assert encode_prompt(gpt2, make([7, 3, 3])).ids == [7, 3, 3]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("text", ["The keys to the cabinet are", "un believably", "x\n\n日🙂 a"])
def test_a_continuation_is_cut_as_behind_its_prompt(
    tiny_lm: MakeLM, family: str, text: str
) -> None:
    lm = tiny_lm(family)
    whole = encode_prompt(lm, text).ids
    for cut in range(1, len(text)):
        prompt, rest = text[:cut], text[cut:]
        head = encode_prompt(lm, prompt).ids
        if whole[: len(head)] == head:
            assert head + encode_continuation(lm, prompt, rest) == whole
        else:  # a token spans the cut: the text is still the same
            ids = encode_continuation(lm, prompt, rest)
            assert lm.tokenizer.decode(head + ids).replace("<s> ", "", 1).strip() == text.strip()


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ([], ValueError, "no tokens"),
        ([1, 10_000], ValueError, "10000 is outside"),
        ([-1], ValueError, "-1 is outside"),
        ([[1, 2], [3, 4]], TypeError, "one sequence"),
        ([[1, 2], [3]], TypeError, "one sequence"),
        ([0.5], TypeError, "accepts a string"),
        (None, TypeError, "accepts a string"),
        ("a\ud800", ValueError, "character 1 is half of a surrogate pair"),
        ("a " * 200, ValueError, "context of 'tiny gpt2' holds 64"),
    ],
)
def test_bad_prompts_say_what_is_wrong(
    gpt2: LanguageModel, prompt: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        encode_prompt(gpt2, prompt)


def test_an_empty_continuation_is_refused(gpt2: LanguageModel) -> None:
    for empty in ("", []):
        with pytest.raises(ValueError, match="continuation: it has no tokens"):
            encode_continuation(gpt2, "a", empty)


def test_a_tokenizer_without_special_tokens_is_left_alone(gpt2: LanguageModel) -> None:
    tokenizer: PreTrainedTokenizerBase = gpt2.tokenizer
    assert encode_prompt(gpt2, "The keys").ids == tokenizer("The keys")["input_ids"]
