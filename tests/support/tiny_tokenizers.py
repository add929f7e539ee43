"""Small tokenizers of each family, trained on the spot: no downloads."""

from __future__ import annotations

from functools import cache

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEXT = (
    "The keys to the cabinet are on the table. The countries of the European Union are Austria, "
    "Belgium, Bulgaria and Croatia. William Shakespeare was born in the year 1564, unbelievably. "
) * 3


@cache
def byte_level(vocabulary: int = 320) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2's: any text, and characters cut into bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@cache
def sentence_piece(vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """Llama-like: a space before the text, bytes for unknown characters, and a first token."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", left=1, right=0),
        ]
    )
    raw_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<unk>", "<s>", "</s>", *raw_bytes],
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    # Bytes are ordinary pieces of the vocabulary, not special tokens.
    fresh = Tokenizer.from_str(_without_special_bytes(tokenizer.to_str()))
    fresh.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", fresh.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fresh, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _without_special_bytes(serialised: str) -> str:
    import json

    data = json.loads(serialised)
    data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
    return json.dumps(data)


@cache
def word_piece(vocabulary: int = 200) -> PreTrainedTokenizerFast:
    """BERT-like: continued words marked by ##, a token before and one behind the text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
