"""What a person reads: whole characters, once, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_level, sentence_piece, word_piece

from ecco_captum.core.tokens import Tokens, display_texts


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30))
@settings(max_examples=150, deadline=None)
def test_byte_level_texts_join_to_the_text(text: str) -> None:
    ids = byte_level()(text)["input_ids"]
    # A replacement character in the text itself looks like bytes that are not whole yet.
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert "".join(display_texts(byte_level(), ids)) == text


@given(st.text(alphabet="abcé日🙂 \n,ü", max_size=25))
@settings(max_examples=150, deadline=None)
def test_sentence_piece_texts_join_to_what_the_tokenizer_decodes(text: str) -> None:
    tokenizer = sentence_piece()
    ids = tokenizer(text)["input_ids"]
    assert "".join(display_texts(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_character_in_several_tokens_is_shown_once_at_the_first() -> None:
    tokenizer = byte_level()
    ids = tokenizer("a🙂日b")["input_ids"]
    assert len(ids) == 1 + 4 + 3 + 1
    assert display_texts(tokenizer, ids) == ("a", "🙂", "", "", "", "日", "", "", "b")


def test_bytes_that_never_become_a_character_do_not_swallow_their_neighbours() -> None:
    tokenizer = byte_level()
    ids = tokenizer("a🙂b")["input_ids"]
    broken = display_texts(tokenizer, [*ids[:3], *ids[-1:]])
    assert broken[0] == "a"
    assert broken[-1] == "b"
    assert "\N{REPLACEMENT CHARACTER}" in broken[1]


def test_word_pieces_are_joined_and_words_are_spaced() -> None:
    tokenizer = word_piece()
    texts = display_texts(tokenizer, tokenizer("The keys, naive")["input_ids"])
    assert "".join(texts) == "[CLS] the keys, naive [SEP]"
    assert not any("##" in text for text in texts)


def test_special_tokens_are_shown() -> None:
    tokenizer = sentence_piece()
    assert display_texts(tokenizer, tokenizer("The")["input_ids"])[0] == "<s>"


def test_ids_are_kept_apart_from_the_callers_array() -> None:
    ids = np.array([1, 2])
    tokens = Tokens(ids, ("a", "b"), 1)
    ids[0] = 9
    assert tokens.ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        tokens.ids[0] = 3
    assert list(tokens.outputs) == [1]


@pytest.mark.parametrize(("texts", "prompt"), [(("a",), 1), (("a", "b"), 3), (("a", "b"), -1)])
def test_tokens_refuse_what_does_not_fit(texts: tuple[str, ...], prompt: int) -> None:
    with pytest.raises(ValueError, match=r"texts|prompt_length"):
        Tokens(np.array([1, 2]), texts, prompt)
