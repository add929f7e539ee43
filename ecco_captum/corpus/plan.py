r"""Plans: a corpus cut into parts, each a unit of work, of file, of retry and of commit."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ecco_captum.core.checks import check_whole
from ecco_captum.core.record_file import replacing
from ecco_captum.corpus.corpus import Corpus, CorpusText, Problem
from ecco_captum.corpus.recipe import LoadedModel, ModelRecipe
from ecco_captum.models.language_model import LanguageModel

TOKENS_PER_PART = 2**14
_FORMAT = 1
_FILE = "plan.json"
_TEXTS = "texts"
_COUNTED = 256  # texts that are tokenized together


@dataclass(frozen=True)
class Part:
    r"""Neighbouring texts of a corpus.

    Args:
        number (int): which part, from 0.
        first_text (int): the number of its first text, from 0.
        texts (int): how many texts there are.
        first_token (int): how many tokens lie before it.
        tokens (int): how many tokens its texts have.
        digest (str): of ids and texts.
    """

    number: int
    first_text: int
    texts: int
    first_token: int
    tokens: int
    digest: str


@dataclass(frozen=True)
class Plan:
    r"""How a corpus is cut: the same corpus and size always give the same parts.

    Args:
        parts (tuple of Part): in order.
        problems (tuple of Problem): rows that are broken, and ids that came again.
        tokens_per_part (int): the most tokens of a part of several texts.

    Examples::

        >>> cut = plan(texts, lm, tokens_per_part=20)
        >>> [part.texts for part in cut.parts], cut.tokens
        ([2, 1], 29)
    """

    parts: tuple[Part, ...]
    problems: tuple[Problem, ...]
    tokens_per_part: int

    @property
    def texts(self) -> int:
        """How many texts there are."""
        return sum(part.texts for part in self.parts)

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return sum(part.tokens for part in self.parts)

    def __str__(self) -> str:
        said = f"{self.tokens:,} tokens of {self.texts:,} texts in {len(self.parts):,} parts"
        return f"{said}; {len(self.problems):,} rows with problems" if self.problems else said


def plan(
    texts: Any,
    model: LanguageModel | ModelRecipe | PreTrainedTokenizerBase,
    *,
    tokens_per_part: int = TOKENS_PER_PART,
) -> Plan:
    r"""Cuts a corpus into parts and counts their tokens; no model runs.

    Args:
        texts (Corpus, or what it takes): the texts.
        model (LanguageModel, ModelRecipe or tokenizer): whose tokens are counted.
        tokens_per_part (int, optional): the most tokens of a part; a longer text is a part of its
            own. Default: 16,384

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if there is no text.

    Examples::

        >>> print(plan(["The keys", "to the cabinet"], lm))
        5 tokens of 2 texts in 1 parts
    """
    corpus = texts if isinstance(texts, Corpus) else Corpus(texts)
    parts = [part for part, _ in cut(corpus, tokenizer_of(model), tokens_per_part)]
    return Plan(tuple(parts), tuple(corpus.problems), tokens_per_part)


def tokenizer_of(model: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of what a plan is made for."""
    if isinstance(model, LanguageModel):
        return model.tokenizer
    if isinstance(model, ModelRecipe | LoadedModel):
        return model.load_tokenizer()
    if isinstance(model, PreTrainedTokenizerBase):
        return model
    raise TypeError(
        f"model: got a {type(model).__name__}, accepts a LanguageModel, a ModelRecipe or a "
        "tokenizer"
    )


def cut(
    corpus: Iterable[CorpusText], tokenizer: PreTrainedTokenizerBase, tokens_per_part: int
) -> Iterator[tuple[Part, list[CorpusText]]]:
    """Yields each part with its texts; of no text, a ValueError says so."""
    check_whole("tokens_per_part", tokens_per_part)
    held: list[CorpusText] = []
    number = first_text = first_token = tokens = 0
    for text, count in _counted(corpus, tokenizer):
        if held and tokens + count > tokens_per_part:
            yield _part(number, first_text, first_token, tokens, held), held
            number, first_text, first_token = (
                number + 1,
                first_text + len(held),
                first_token + tokens,
            )
            held, tokens = [], 0
        held.append(text)
        tokens += count
    if not held:
        raise ValueError("texts: got none, accepts at least one text")
    yield _part(number, first_text, first_token, tokens, held), held


def _part(
    number: int, first_text: int, first_token: int, tokens: int, texts: Sequence[CorpusText]
) -> Part:
    digest = hashlib.sha256(_lines(texts)).hexdigest()[:16]
    return Part(number, first_text, len(texts), first_token, tokens, digest)


def _counted(
    corpus: Iterable[CorpusText], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[CorpusText, int]]:
    """Each text with the number of its tokens."""
    each = iter(corpus)
    while several := list(itertools.islice(each, _COUNTED)):
        strings = [text.text for text in several if isinstance(text.text, str)]
        read = tokenizer(strings, verbose=False)["input_ids"] if strings else []
        counts = iter([len(ids) for ids in read])
        for text in several:
            yield text, next(counts) if isinstance(text.text, str) else _count(text.text, tokenizer)


def _count(text: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Of messages or ids; 0 for what is no text, which the workers refuse."""
    if not isinstance(text, list):
        return 0
    if text and all(isinstance(message, dict) for message in text):
        try:
            ids = tokenizer.apply_chat_template(text, return_dict=True)["input_ids"]
        except Exception:  # templates raise what they like; whoever reads the text says why
            return 0
        return len(ids)
    return len(text)


def _lines(texts: Iterable[CorpusText]) -> bytes:
    """JSON lines of ids and texts."""
    rows = (json.dumps({"id": text.id, "text": text.text}) for text in texts)
    try:
        return "".join(f"{row}\n" for row in rows).encode()
    except TypeError as error:
        raise TypeError(
            f"texts: {error}; accepts strings, lists of messages and lists of ids"
        ) from error


def written_plan(folder: Path, corpus: Corpus | None, model: Any, tokens_per_part: int) -> Plan:
    r"""The plan of a folder: read if it is there, else made, with the texts of each part beside it.

    Raises:
        ValueError: if the folder's texts are others than the corpus's, or it has no plan and no
            corpus is given.
    """
    if (folder / _FILE).exists():
        plan = read_plan(folder)
        if corpus is not None:
            _check_same(folder, plan, corpus, tokens_per_part)
        return plan
    if corpus is None:
        raise ValueError(f"texts: got None, but {str(folder)!r} holds no plan yet; accepts texts")
    shutil.rmtree(folder / _TEXTS, ignore_errors=True)  # of a run that was cut off while planning
    (folder / _TEXTS).mkdir(parents=True)
    parts = []
    for part, texts in cut(corpus, tokenizer_of(model), tokens_per_part):
        texts_file(folder, part.number).write_bytes(_lines(texts))
        parts.append(part)
    plan = Plan(tuple(parts), tuple(corpus.problems), tokens_per_part)
    with replacing(folder / _FILE) as file:
        file.write(json.dumps({"format": _FORMAT, **asdict(plan)}, indent=1).encode())
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan that a folder holds."""
    fields = json.loads((folder / _FILE).read_text("utf-8"))
    if fields.pop("format") > _FORMAT:
        raise ValueError(f"path: a newer ecco-captum made the plan of {str(folder)!r}")
    parts = tuple(Part(**part) for part in fields.pop("parts"))
    problems = tuple(Problem(**problem) for problem in fields.pop("problems"))
    return Plan(parts, problems, **fields)


def texts_file(folder: Path, number: int) -> Path:
    """Where the texts of a part are."""
    return folder / _TEXTS / f"part-{number:06d}.jsonl"


def texts_of_part(folder: Path, number: int) -> list[CorpusText]:
    """The texts of a part."""
    lines = texts_file(folder, number).read_text("utf-8").split("\n")[:-1]
    return [CorpusText(**json.loads(line)) for line in lines]


def _check_same(folder: Path, plan: Plan, corpus: Corpus, tokens_per_part: int) -> None:
    """The corpus must be the one that the plan was made of."""
    if plan.tokens_per_part != tokens_per_part:
        raise ValueError(
            f"tokens_per_part: got {tokens_per_part}, {str(folder)!r} was planned with "
            f"{plan.tokens_per_part}; accepts that, or a new folder"
        )
    each = iter(corpus)
    for part in plan.parts:
        texts = list(itertools.islice(each, part.texts))
        digest = hashlib.sha256(_lines(texts)).hexdigest()[:16]
        if len(texts) != part.texts or digest != part.digest:
            raise ValueError(
                f"texts: those from number {part.first_text} on, from 0, are not the ones that "
                f"{str(folder)!r} was planned with; accepts the same texts, None, or a new folder"
            )
    if next(each, None) is not None:
        raise ValueError(
            f"texts: there are more than the {plan.texts} that {str(folder)!r} was planned with; "
            "accepts the same texts, None, or a new folder"
        )
