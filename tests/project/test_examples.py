"""Every public name has an example in its docstring, and does what the example says."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ecco_captum
import ecco_captum.widgets
from ecco_captum.models.language_model import LanguageModel

NAMES = [name for name in ecco_captum.__all__ if name != "__version__"]
PUBLIC = {name: getattr(ecco_captum, name) for name in NAMES}
WIDGETS = {name: getattr(ecco_captum.widgets, name) for name in ecco_captum.widgets.__all__}
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _text(value: Any) -> str:
    """The lines under ``Examples::``; what a class has from another is not its own."""
    doc = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    _, _, below = inspect.cleandoc(doc or "").partition("\nExamples::\n")
    return inspect.cleandoc(below)


def _members(name: str, cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that the package itself gives a class."""
    for base in cls.__mro__:
        if base.__module__.startswith("ecco_captum"):
            for member, value in vars(base).items():
                if not member.startswith("_"):
                    yield f"{base.__name__}.{member}", getattr(value, "__func__", value)


def _examples() -> dict[str, str]:
    found = dict(PUBLIC)
    for name, value in [*PUBLIC.items(), *WIDGETS.items()]:
        found[name] = value
        if inspect.isclass(value):
            found |= dict(_members(name, value))
    return {name: text for name, value in found.items() if (text := _text(value))}


EXAMPLES = _examples()


@pytest.fixture(scope="session")
def standing(loaded_smollm2: LanguageModel) -> dict[str, Any]:
    """What stands in every example, beside the public names; docs/api/index.md says the same."""
    lm = loaded_smollm2
    text = "The keys to the cabinet are on the table. The key to the cabinets is on the chair."
    generation = ecco_captum.generate(lm, "The capital of France is", max_new_tokens=5)
    return {
        **PUBLIC,
        "ecco_captum": ecco_captum,
        "ec": ecco_captum,
        "np": np,
        "torch": torch,
        "lm": lm,
        "encoder": ecco_captum.load("minilm-l6"),
        "generation": generation,
        "attribution": ecco_captum.saliency(lm, generation),
        "factors": ecco_captum.nmf(ecco_captum.neurons(lm, text), 6, negatives="split"),
        "text": text,
        "texts": [
            "The keys to the cabinet are on the table.",
            "She opened the door, and he looked out.",
            "In Paris it rained for a week.",
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(EXAMPLES.get(name, ""))
    assert any(example.want for example in examples), f"{name}: no example that says what it gives"


@pytest.mark.model
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_do_what_they_say(
    name: str, standing: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In one thread, as all tests but those with real_lm: texts this short gain little from two.
    monkeypatch.chdir(tmp_path)
    # A run takes its names with it when it is over.
    given = doctest.DocTestParser().get_doctest(EXAMPLES[name], dict(standing), name, None, 0)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=_OPTIONS).run(given, out=told.append)
    assert result.attempted
    assert not result.failed, "".join(told)[:4000]


def test_what_is_not_run_says_so() -> None:
    skipped = [
        example.source
        for text in EXAMPLES.values()
        for example in doctest.DocTestParser().get_examples(text)
        if example.options.get(doctest.SKIP)
    ]
    # From the model hub, which is not reached everywhere.
    assert skipped == ['lm = load("gpt2", dtype="bfloat16")  # doctest: +SKIP\n']
