"""Faithfulness: drops equal those of plain forwards, and say what can be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from recording import called

from ecco_captum import (
    Attribution,
    Generation,
    faithfulness,
    force_decode,
    generate,
    saliency,
)
from ecco_captum.models.interventions import replaced_output
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

MakeLM = Callable[..., LanguageModel]
QUICK = {"randomisation": False, "progress": False}


def text(lm: LanguageModel, outputs: int = 6) -> Generation:
    return generate(lm, [5, 9, 6, 7, 30, 12, 44, 8, 21, 17, 3, 15], max_new_tokens=outputs)


def plain_scores(
    lm: LanguageModel, generation: Generation, absent: list[int], at: torch.Tensor
) -> np.ndarray:
    """Logits of all outputs with some positions' embeddings replaced, by a plain forward."""
    ids = torch.tensor(generation.tokens.ids[None, :-1])
    module = lm.model.get_submodule(lm.anatomy.embedding.module)

    def replaced(current: torch.Tensor) -> torch.Tensor:
        current = current.clone()
        current[:, absent] = at
        return current

    with torch.no_grad(), replaced_output(module, replaced, call=0, root=lm.model):
        logits = lm.model(ids, use_cache=False).logits[0]
    start = len(generation.prompt_ids) - 1
    own = torch.tensor(generation.output_ids)[:, None]
    return logits[start:].gather(1, own)[:, 0].double().numpy()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("outputs_per_removal", [1, 100])
def test_drops_equal_those_of_plain_forwards(
    tiny_lm: MakeLM, family: str, outputs_per_removal: int
) -> None:
    lm = tiny_lm(family)
    generation = text(lm)
    attribution = saliency(lm, generation)
    tested = faithfulness(
        lm, attribution, removal=40, outputs_per_removal=outputs_per_removal, **QUICK
    )
    stand_in = lm.embeddings(torch.tensor([[40]]))[0, 0]
    whole = plain_scores(lm, generation, [], stand_in)
    prompt, fractions = len(generation.prompt_ids), (0.1, 0.2, 0.5)
    for t in range(6):
        rows = [t] if outputs_per_removal == 1 else range(6)
        sources = np.arange(1, prompt + rows[0] - 1)
        weights = attribution.shares[rows].mean(axis=0)[sources]
        order = sources[np.argsort(-weights, kind="stable")]
        for f, fraction in enumerate(fractions):
            top = order[: max(1, round(fraction * len(order)))].tolist()
            rest = sorted(set(sources.tolist()) - set(top))
            for removed, drops in ((top, tested.comprehensiveness), (rest, tested.sufficiency)):
                expected = whole - plain_scores(lm, generation, removed, stand_in)
                assert drops[0, f, t] == pytest.approx(expected[t], rel=1e-4, abs=1e-4)
    last = whole - plain_scores(lm, generation, [prompt - 2], stand_in)
    assert tested.comprehensiveness[2, 0, 0] == pytest.approx(last[0], rel=1e-4, abs=1e-4)
    first = whole - plain_scores(lm, generation, [1], stand_in)
    assert tested.comprehensiveness[3, 0, 0] == pytest.approx(first[0], rel=1e-4, abs=1e-4)


def test_first_and_last_source_can_be_removed(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = text(lm, outputs=1)
    attribution = saliency(lm, generation)
    tested = faithfulness(
        lm, attribution, fractions=[0.05], removal=40, exclude_ends=False, **QUICK
    )
    stand_in = lm.embeddings(torch.tensor([[40]]))[0, 0]
    whole = plain_scores(lm, generation, [], stand_in)
    expected = whole - plain_scores(lm, generation, [11], stand_in)
    assert tested.comprehensiveness[2, 0] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_deleting_tokens_shortens_the_text(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    generation = text(lm, outputs=1)
    attribution = saliency(lm, generation)
    tested = faithfulness(lm, attribution, fractions=[0.3], removal="delete", **QUICK)
    order = 1 + np.argsort(-attribution.shares[0, 1:11], kind="stable")
    for removed, drops in ((order[:3], tested.comprehensiveness), (order[3:], tested.sufficiency)):
        left = np.delete(generation.prompt_ids, removed)
        with torch.no_grad():
            logit = lm.model(torch.tensor(left[None])).logits[0, -1, generation.output_ids[0]]
        assert drops[0, 0, 0] == pytest.approx(generation.logits[0] - float(logit), abs=1e-4)


def test_neighbours_stand_in_for_removed_tokens(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    generation = text(lm, outputs=1)
    attribution = saliency(lm, generation)
    tested = faithfulness(lm, attribution, fractions=[0.3], removal="neighbour", **QUICK)
    ids = generation.prompt_ids.copy()
    ids[[8, 9, 10]] = ids[[7, 7, 11]]  # the last three candidates: 8 and 9 are nearer to 7
    ids[9] = ids[7] if 9 - 7 <= 11 - 9 else ids[11]
    with torch.no_grad():
        logit = lm.model(torch.tensor(ids[None])).logits[0, -1, generation.output_ids[0]]
    drop = tested.comprehensiveness[2, 0, 0]
    assert drop == pytest.approx(generation.logits[0] - float(logit), abs=1e-4)


@pytest.mark.parametrize("kind", ["seq2seq", "masked"])
@pytest.mark.parametrize("removal", ["mean", "delete", "neighbour"])
def test_other_kinds_of_models(tiny_lm: MakeLM, kind: str, removal: str) -> None:
    lm = tiny_lm("t5" if kind == "seq2seq" else "bert", kind)
    ids = [5, 9, 6, 7, 30, 12, 44, 8]
    if kind == "masked":
        ids[3] = lm.tokenizer.mask_token_id
    generation = generate(lm, ids, **({"max_new_tokens": 3} if kind == "seq2seq" else {}))
    tested = faithfulness(lm, saliency(lm, generation), removal=removal, **QUICK)
    assert np.isfinite(tested.comprehensiveness).all()
    assert tested.comprehensiveness.shape[-1] == len(generation.output_ids)
    assert np.abs(tested.comprehensiveness).max() > 0
    if kind == "masked" and removal == "delete":
        # The mask is where the score is read: it is no source, and may shift.
        left = np.delete(ids, 1)
        with torch.no_grad():
            logits = lm.model(torch.tensor(left[None])).logits[0]
        drop = generation.logits[0] - float(logits[2, generation.output_ids[0]])
        assert tested.comprehensiveness[3, 0, 0] == pytest.approx(drop, abs=1e-4)


def test_an_oracle_beats_random_and_its_opposite_does_not(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = text(lm, outputs=20)
    oracle = saliency(lm, generation, method="occlusion", baseline="mean")
    tested = faithfulness(lm, oracle, removal="mean", outputs_per_removal=1, **QUICK)
    assert tested.margins[0, 1] > 0
    assert " logits more than removing random tokens," in tested.sentence
    opposite = replace(oracle, scores=-oracle.scores)
    tested = faithfulness(lm, opposite, removal="mean", outputs_per_removal=1, **QUICK)
    assert tested.margins[0, 2] < 0
    assert " logits less than removing random tokens," in tested.sentence


def test_a_random_attribution_does_no_better_than_random(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    attribution = saliency(lm, text(lm, outputs=20))
    scores = np.random.default_rng(0).random(attribution.scores.shape).astype(np.float32)
    scores[attribution.scores == 0] = 0
    tested = faithfulness(lm, replace(attribution, scores=scores), outputs_per_removal=1, **QUICK)
    assert tested.margins[0, 1] < 0 < tested.margins[0, 2]
    assert "lowers the logit no more than removing random tokens (" in tested.sentence


def test_intervals_are_of_the_means_over_outputs(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    tested = faithfulness(lm, saliency(lm, text(lm)), **QUICK)
    for drops, table in (
        (tested.comprehensiveness, tested.comprehensiveness_summary),
        (tested.sufficiency, tested.sufficiency_summary),
    ):
        np.testing.assert_allclose(table[:, :3, 0], drops.mean(axis=-1))
        np.testing.assert_allclose(table[:, 3, 0], drops.mean(axis=(1, 2)))
        assert (table[..., 1] <= table[..., 0]).all()
        assert (table[..., 0] <= table[..., 2]).all()
    areas = tested.comprehensiveness.mean(axis=(1, 2))
    np.testing.assert_allclose(tested.margins[:, 0], areas[0] - areas[1:])


def test_the_cost_is_bounded(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, list(range(5, 25)), list(range(25, 63)))
    attribution = saliency(lm, generation)
    read: list[int] = []
    last = lm.model.get_submodule(lm.anatomy.blocks[-1].module)
    faithfulness(lm, attribution, **QUICK)  # sees whether texts may share a forward
    with called(last, lambda args, kwargs: read.append(args[0].shape[:2].numel())):
        tested = faithfulness(lm, attribution, **QUICK)
    # Those of 4 conditions, 3 fractions and 2 measures, the whole text, and one that checks that
    # beginnings may be kept.
    assert tested.texts == 26
    # In whole texts' worth; beginnings that are kept are not read again.
    assert sum(read) / 57 < 27


def test_the_randomisation_check(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, text(lm))
    before = model_state(lm.model)
    weights = {name: value.clone() for name, value in lm.model.state_dict().items()}
    tested = faithfulness(lm, attribution, progress=False)
    assert tested.rank_correlation is not None
    assert -1 <= tested.rank_correlation < 0.9
    assert model_state(lm.model) == before
    for name, value in lm.model.state_dict().items():
        assert torch.equal(value, weights[name])
    ablation = saliency(lm, text(lm), method="feature_ablation")
    assert faithfulness(lm, ablation, progress=False).rank_correlation is None


def test_soft_variants(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, text(lm))
    assert faithfulness(lm, attribution, **QUICK).soft_sufficiency is None
    tested = faithfulness(lm, attribution, soft=True, **QUICK)
    assert tested.soft_comprehensiveness.shape == (2, 6)
    # Where all tokens are of no importance, nothing is removed, and nothing kept.
    none = replace(attribution, scores=np.zeros_like(attribution.scores))
    tested = faithfulness(lm, none, soft=True, removal="zero", **QUICK)
    np.testing.assert_allclose(tested.soft_comprehensiveness, 0, atol=1e-5)
    assert np.abs(tested.soft_sufficiency).max() > 0
    with pytest.raises(ValueError, match="soft: a token cannot be removed in part by 'delete'"):
        faithfulness(lm, attribution, soft=True, removal="delete", **QUICK)


def test_it_has_a_table_and_stands_under_its_attribution(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, text(lm), score="logprob", outputs=[1, 3])
    tested = faithfulness(lm, attribution, progress=False)
    assert tested.outputs.tolist() == [1, 3]
    assert str(tested) == tested.sentence
    assert " nats more than " in tested.sentence or " nats less than " in tested.sentence
    assert "2 outputs, too few to rule out chance" in tested.sentence
    assert len(tested.to_pandas()) == 2 * 4 * 4
    assert str(tested.strip()) in attribution.to_html(faithfulness=tested)
    assert tested.sentence not in attribution.to_html()


def test_bad_arguments_say_what_is_wrong(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, text(lm))
    with pytest.raises(TypeError, match="attribution: got a Generation"):
        faithfulness(lm, attribution.generation)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="its tokens are grouped"):
        faithfulness(lm, attribution.by_word())
    with pytest.raises(ValueError, match="fractions: got"):
        faithfulness(lm, attribution, fractions=[1.5])
    with pytest.raises(ValueError, match="outputs_per_removal: got 0"):
        faithfulness(lm, attribution, outputs_per_removal=0)
    with pytest.raises(ValueError, match="baseline: got 'nothing'"):
        faithfulness(lm, attribution, removal="nothing")
    with pytest.raises(ValueError, match="is of another kind"):
        faithfulness(tiny_lm("t5", "seq2seq"), attribution)
    short = saliency(lm, force_decode(lm, [5, 6], [7]))
    with pytest.raises(ValueError, match="before no output are there sources enough"):
        faithfulness(lm, short, **QUICK)


def test_nothing_stays_behind_after_an_interruption(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution: Attribution = saliency(lm, text(lm))
    lm.model.train()
    before = model_state(lm.model)
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt

    hook = lm.model.transformer.h[1].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        faithfulness(lm, attribution, **QUICK)
    hook.remove()
    assert model_state(lm.model) == before
