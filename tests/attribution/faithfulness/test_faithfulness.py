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
        lm,
        attribution,
        fractions=(0.1, 0.5),
        removal=40,
        orders=3,
        outputs_per_removal=outputs_per_removal,
        **QUICK,
    )
    stand_in = lm.embeddings(torch.tensor([[40]]))[0, 0]
    whole = plain_scores(lm, generation, [], stand_in)
    prompt, fractions = len(generation.prompt_ids), (0.1, 0.5)
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
        left = np.delete(ids, [1, 2])
        with torch.no_grad():
            logits = lm.model(torch.tensor(left[None])).logits[0]
        drop = generation.logits[0] - float(logits[1, generation.output_ids[0]])
        assert tested.comprehensiveness[3, 0, 0] == pytest.approx(drop, abs=1e-4)


@pytest.mark.parametrize("outputs_per_removal", [1, 100])
def test_random_orders_are_removals_by_plain_forwards(
    tiny_lm: MakeLM, outputs_per_removal: int
) -> None:
    """The same keys in the same places, removed one text at a time."""
    lm = tiny_lm("llama")
    generation = text(lm, outputs=3)
    attribution = saliency(lm, generation)
    tested = faithfulness(
        lm, attribution, removal=40, orders=4, outputs_per_removal=outputs_per_removal, **QUICK
    )
    keys = np.random.default_rng(0).random((4, len(generation.tokens)))
    stand_in = lm.embeddings(torch.tensor([[40]]))[0, 0]
    whole = plain_scores(lm, generation, [], stand_in)
    prompt = len(generation.prompt_ids)
    removed, kept = np.zeros((2, 4, 2, 3))
    for t in range(3):
        end = prompt + (t if outputs_per_removal == 1 else 0)
        sources = np.arange(1, end - 1)
        for o in range(4):
            order = sources[np.argsort(keys[o, sources])]
            for f, fraction in enumerate((1 / 3, 2 / 3)):
                top = order[: round(fraction * len(order))].tolist()
                removed[o, f, t] = whole[t] - plain_scores(lm, generation, top, stand_in)[t]
                # Of an order that is as random: the reversed one.
                rest = order[: len(order) - len(top)].tolist()
                kept[o, f, t] = whole[t] - plain_scores(lm, generation, rest, stand_in)[t]
    np.testing.assert_allclose(tested.random_comprehensiveness, removed.mean(-1), atol=1e-4)
    np.testing.assert_allclose(tested.random_sufficiency, kept.mean(-1), atol=1e-4)
    np.testing.assert_allclose(tested.comprehensiveness[1], removed.mean(0), atol=1e-4)


def test_an_oracle_is_more_than_chance_and_its_opposite_less(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = generate(lm, list(range(4, 40)), max_new_tokens=4)
    oracle = saliency(lm, generation, method="occlusion", baseline="mean")
    tested = faithfulness(lm, oracle, **QUICK)
    assert tested.removals == ("mean", "delete")
    assert tested.p_values[0, 0] <= 0.01
    assert tested.lds_by_output[0].mean() > 0.5
    assert tested.verdict in ("supported", "partly supported")
    opposite = faithfulness(lm, replace(oracle, scores=-oracle.scores), removal="mean", **QUICK)
    assert opposite.verdict == "not supported"
    assert opposite.sentence.startswith("Occlusion does worse than chance here.")
    np.testing.assert_allclose(opposite.lds_by_output[0], -tested.lds_by_output[0], atol=1e-12)


def test_a_verdict_follows_from_its_p_values(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    tested = faithfulness(lm, saliency(lm, text(lm)), orders=3, **QUICK)

    def verdict(p_values: list[list[float]], correlation: float | None = 0.1) -> str:
        count = len(p_values)
        changed = replace(
            tested,
            p_values=np.array(p_values),
            rank_correlation=correlation,
            removals=tested.removals[:count],
            lds_by_output=tested.lds_by_output[:count],
            lds_intervals=tested.lds_intervals[:count],
            p_by_output=tested.p_by_output[:count],
        )
        assert changed.sentence.startswith("Gradient × input ")
        return changed.verdict

    good, weak = [0.01, 0.01, 0.99], [0.2, 0.2, 0.8]
    assert verdict([good, good]) == verdict([good, good], None) == "supported"
    assert verdict([good]) == "partly supported"  # one kind of removal alone
    assert verdict([good, good], 0.9) == "partly supported"
    assert verdict([[0.01, 0.2, 0.99]] * 2) == "partly supported"
    assert verdict([[0.01, 0.2, 0.99]] * 2, 0.9) == "not supported"
    assert verdict([good, weak]) == "partly supported"
    assert verdict([[0.04, 0.01, 0.99], weak]) == "inconclusive"  # two kinds were looked at
    assert verdict([weak, weak]) == "inconclusive"
    assert verdict([weak, weak], 0.9) == "not supported"
    assert verdict([[1.0, 1.0, 0.01]] * 2) == "not supported"
    assert verdict([[1.0, 1.0, 0.01], weak]) == "inconclusive"


def test_curves_are_ranked_among_those_of_random_orders(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    tested = faithfulness(lm, saliency(lm, text(lm)), matched_orders=3, **QUICK)
    own, at_random = tested.comprehensiveness[0].mean(), tested.random_comprehensiveness.mean(1)
    assert at_random.shape == (39,)
    assert tested.p_comprehensiveness == (1 + (at_random >= own).sum()) / 40
    at_random = tested.random_sufficiency.mean(axis=1)
    assert tested.p_sufficiency == (1 + (at_random <= tested.sufficiency[0].mean()).sum()) / 40
    matched = tested.matched_comprehensiveness
    assert matched.shape == (3, 2)
    assert tested.p_matched == (1 + (matched.mean(axis=1) >= own).sum()) / 4
    assert np.isnan(faithfulness(lm, saliency(lm, text(lm)), orders=3, **QUICK).p_matched)
    for measure in ("comprehensiveness", "sufficiency"):
        curves, drops = tested.curves(measure), getattr(tested, measure)
        np.testing.assert_allclose(curves[:, :2, 0], drops.mean(axis=-1))
        np.testing.assert_allclose(curves[:, 2, 0], drops.mean(axis=(1, 2)))
        assert np.isnan(curves[[0, 2, 3], :, 1:]).all()
        assert (curves[1, :, 1] <= curves[1, :, 0]).all()
        assert (curves[1, :, 0] <= curves[1, :, 2]).all()


def test_the_cost_is_bounded(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    generation = force_decode(lm, list(range(5, 25)), list(range(25, 63)))
    attribution = saliency(lm, generation)
    read: list[int] = []
    last = lm.model.get_submodule(lm.anatomy.blocks[-1].module)
    faithfulness(lm, attribution, **QUICK)  # sees whether texts may share a forward
    with called(last, lambda args, kwargs: read.append(args[0].shape[:2].numel())):
        tested = faithfulness(lm, attribution, **QUICK)
    # 39 orders at 2 fractions and, deleted, at one; the attribution, and position; the whole text
    # for each, and one that checks that beginnings may be kept.
    assert tested.texts <= 39 * 3 + 8 + 4
    # In whole texts' worth; beginnings that are kept are not read again.
    assert sum(read) / 57 < 125


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


def test_it_has_a_table_and_stands_under_its_attribution(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, text(lm), score="logprob", outputs=[1, 3])
    tested = faithfulness(lm, attribution, progress=False)
    assert tested.outputs.tolist() == [1, 3]
    assert tested.sentence in str(tested)
    assert " nats, random tokens " in tested.sentence
    assert len(tested.to_pandas()) == 2 * 2
    assert tested.to_pandas()["lds"].mean() == pytest.approx(tested.lds)
    assert len(tested.curves_to_pandas()) == 2 * 4 * 3
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
    for name in ("orders", "outputs_per_removal"):
        with pytest.raises(ValueError, match=f"{name}: got 0"):
            faithfulness(lm, attribution, **{name: 0})
    with pytest.raises(ValueError, match="removal: got an empty list"):
        faithfulness(lm, attribution, removal=[])
    with pytest.raises(ValueError, match="matched_orders: got -1"):
        faithfulness(lm, attribution, matched_orders=-1)
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
