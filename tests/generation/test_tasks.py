"""Words at masks and classes: what models that do not write on predict, and their saliency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_models
import tiny_tokenizers
import torch
import transformers
from method_samples import SUBJECTS, fresh_subject, subject

import ecco_captum
from ecco_captum import UnsupportedError, force_decode, generate, saliency
from ecco_captum.generation.tasks import classes_of, task_of
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

TEXT = "the [MASK] to the [MASK] are"


@pytest.mark.parametrize("name", [*SUBJECTS, "causal:mamba"])
def test_the_head_tells_the_task(name: str) -> None:
    lm, generation = subject(name)
    assert task_of(lm) == generation.task == name.partition(":")[0]


def test_masks_are_filled_with_the_best_token() -> None:
    lm, _ = subject("masked:bert")
    generation = generate(lm, TEXT)
    ids = torch.tensor([lm.tokenizer(TEXT)["input_ids"]])
    assert generation.prompt_ids.tolist() == ids[0].tolist()
    places = (ids[0] == lm.tokenizer.mask_token_id).nonzero()[:, 0]
    with torch.no_grad():
        rows = lm.model(ids).logits[0, places]
    assert generation.places is not None
    assert generation.places.tolist() == places.tolist()
    assert generation.output_ids.tolist() == rows.argmax(dim=1).tolist()
    np.testing.assert_allclose(generation.logits, rows.amax(dim=1), rtol=1e-5)
    np.testing.assert_allclose(generation.logprobs, rows.log_softmax(1).amax(1), rtol=1e-4)
    assert generation.ranks.tolist() == [1, 1]


def test_given_words_are_scored_at_the_masks() -> None:
    lm, _ = subject("masked:bert")
    (keys,) = lm.tokenizer("keys", add_special_tokens=False)["input_ids"]
    generation = force_decode(lm, TEXT, [keys, 7])
    ids = torch.tensor(generation.prompt_ids[None])
    with torch.no_grad():
        rows = lm.model(ids).logits[0, torch.tensor(generation.places)]
    assert generation.output_ids.tolist() == [keys, 7]
    expected = [float(rows[0, keys]), float(rows[1, 7])]
    np.testing.assert_allclose(generation.logits, expected, rtol=1e-5)
    ranks = [int((row > value).sum()) + 1 for row, value in zip(rows, expected, strict=True)]
    assert generation.ranks.tolist() == ranks
    assert generation.settings["forced"] is True
    filled = force_decode(lm, "the [MASK] to", "keys")
    assert filled.output_ids.tolist() == [keys]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_classifier_names_its_best_class(family: str) -> None:
    lm, _ = subject(f"classification:{family}")
    generation = generate(lm, [5, 9, 6])
    with torch.no_grad():
        row = lm.model(torch.tensor([[5, 9, 6]])).logits[0]
    best = int(row.argmax())
    assert classes_of(lm) == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert generation.output_ids.tolist() == [best]
    assert generation.text == f"LABEL_{best}"
    assert generation.logits[0] == pytest.approx(float(row[best]), rel=1e-5)
    assert generation.ranks.tolist() == [1]
    worst = int(row.argmin())
    for wanted in (worst, f"LABEL_{worst}"):
        forced = force_decode(lm, [5, 9, 6], wanted)
        assert forced.output_ids.tolist() == [worst]
        assert forced.ranks.tolist() == [3]
        assert forced.logprobs[0] == pytest.approx(float(row.log_softmax(0)[worst]), rel=1e-4)


def test_classes_have_the_names_of_the_config() -> None:
    lm, _ = fresh_subject("classification:bert")
    lm.model.config.id2label = {0: "no", 1: "maybe", 2: "yes"}
    assert force_decode(lm, [5, 9], "yes").output_ids.tolist() == [2]
    assert saliency(lm, force_decode(lm, [5, 9], "yes"), versus="no").versus == ("no",)


@pytest.mark.parametrize("name", ["masked:bert", "classification:bert", "classification:llama"])
def test_every_position_can_be_attributed_to(name: str) -> None:
    lm, generation = subject(name)
    lm.model.train()
    before = model_state(lm.model)
    attribution = saliency(lm, generation)
    assert model_state(lm.model) == before
    lm.model.eval()
    start = attribution.tokens.prompt_length
    assert attribution.known.tolist() == [start] * len(generation.output_ids)
    assert attribution.scores[:, :start].all()
    assert not attribution.scores[:, start:].any()
    assert len(attribution.to_pandas()) == start * len(generation.output_ids)


@pytest.mark.parametrize("name", ["masked:bert", "classification:bert"])
def test_models_that_do_not_write_on_take_no_options(name: str) -> None:
    lm, _ = subject(name)
    for options in ({"max_new_tokens": 3}, {"seed": 0}, {"do_sample": True}):
        with pytest.raises(TypeError, match=r"does not write on, accepts none; it (fills|names)"):
            generate(lm, TEXT, **options)


@pytest.mark.parametrize(
    ("name", "prompt", "continuation", "message"),
    [
        ("masked:bert", "the keys", None, r"prompt: it has no mask for 'tiny bert' to fill; write"),
        ("masked:bert", TEXT, "keys", r"it is 1 tokens .* for 2 masks; accepts one token for each"),
        ("masked:bert", TEXT, [5, 6, 7], r"it is 3 tokens .* for 2 masks"),
        ("masked:bert", TEXT, [5, 10**6], r"token id 1000000 is outside the model's vocabulary"),
        ("classification:bert", [5, 9], 3, r"continuation: got 3, accepts a class: 'LABEL_0', "),
        ("classification:bert", [5, 9], -1, r"continuation: got -1, accepts a class"),
        ("classification:bert", [5, 9], "good", r"continuation: got 'good', accepts a class"),
        ("classification:bert", [], None, r"prompt: it has no tokens"),
        ("masked:bert", [5] * 70, None, r"prompt: "),
        ("classification:bert", [5] * 70, None, r"prompt: "),
    ],
)
def test_errors(name: str, prompt: Any, continuation: Any, message: str) -> None:
    lm, _ = subject(name)
    given = () if continuation is None else (continuation,)
    run = force_decode if given else generate
    with pytest.raises(ValueError, match=message):
        run(lm, prompt, *given)


def test_numbers_that_arrays_hold_are_classes() -> None:
    lm, _ = subject("classification:bert")
    assert force_decode(lm, [5, 9], np.int64(2)).output_ids.tolist() == [2]


@pytest.mark.parametrize(
    "kind", ["BertModel", "BertForTokenClassification", "BertForQuestionAnswering"]
)
def test_heads_that_are_not_known_are_refused(kind: str) -> None:
    tokenizer = tiny_tokenizers.word_piece()
    config = tiny_models.tiny_config("masked", "bert")
    config.vocab_size = len(tokenizer)
    model = getattr(transformers, kind)(config).eval()
    lm = ecco_captum.wrap(model, tokenizer, name="tiny")
    for call in (lambda: generate(lm, [5, 6]), lambda: force_decode(lm, [5, 6], [7])):
        with pytest.raises(UnsupportedError, match=f"'tiny' is a {kind}, which has no head"):
            call()
    with pytest.raises(TypeError, match="lm: got a str, accepts what load"):
        task_of("bert")  # type: ignore[arg-type]


def test_a_text_of_another_task_is_refused() -> None:
    _, filled = subject("masked:bert")
    lm, _ = subject("classification:bert")
    assert isinstance(lm, LanguageModel)
    with pytest.raises(ValueError, match=r"made with 'tiny bert' \(masked\); .* is of another"):
        saliency(lm, filled)
