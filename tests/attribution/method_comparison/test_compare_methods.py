"""Methods are compared on the same evidence, and what is said of them follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import captum.attr
import numpy as np
import pytest
from page_reading import document
from scipy.stats import ttest_rel, wilcoxon
from view_samples import Outline, cells_of, sanitised

import ecco_captum as ec
from ecco_captum import Generation, MethodComparison, compare_methods, faithfulness, saliency
from ecco_captum.attribution.method_comparison.compare import _over_others
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import check_record, model_state

MakeLM = Callable[..., LanguageModel]
METHODS = ["input_x_gradient", "occlusion", "attention"]


def texts(lm: LanguageModel, count: int = 1, length: int = 26) -> list[Generation]:
    rng = np.random.default_rng(3)
    prompts = rng.integers(4, 60, (count, length)).tolist()
    return [ec.generate(lm, ids, max_new_tokens=3, progress=False) for ids in prompts]


@pytest.fixture(scope="module")
def compared(tiny_lm: MakeLM) -> MethodComparison:
    lm = tiny_lm("gpt2")
    return compare_methods(lm, texts(lm)[0], methods=METHODS, progress=False)


def test_each_method_has_the_scores_that_its_own_test_has(
    tiny_lm: MakeLM, compared: MethodComparison
) -> None:
    lm = tiny_lm("gpt2")
    (text,) = texts(lm)
    for k, method in enumerate(METHODS):
        attribution = saliency(lm, text, method=method, progress=False)
        alone = faithfulness(lm, attribution, progress=False)
        np.testing.assert_allclose(compared.lds[0, :, k], alone.lds_by_output.mean(1), atol=1e-6)
        assert compared.intervals[k, 0] == pytest.approx(alone.lds)
        assert compared.comprehensiveness[0, k] == pytest.approx(alone.comprehensiveness[0].mean())
        assert compared.sufficiency[0, k] == pytest.approx(alone.sufficiency[0].mean())
        assert compared.p_comprehensiveness[k] == alone.p_comprehensiveness
        assert compared.p_sufficiency[k] == alone.p_sufficiency
        # The nulls are draws of their own: p-values agree up to what draws vary.
        for own, other in zip(compared.p_chance[:, k], alone.p_values[:, 0], strict=True):
            assert own == pytest.approx(other, abs=0.08)
    last = saliency(lm, text, progress=False)
    places = np.arange(len(text.tokens)) < last.known[:, None]
    places = (places * np.arange(1, len(text.tokens) + 1)).astype(np.float32)
    by_place = faithfulness(lm, replace(last, scores=places), progress=False, randomisation=False)
    np.testing.assert_allclose(compared.lds[0, :, -2], by_place.lds_by_output.mean(1), atol=1e-6)


def test_the_table_the_baselines_and_who_agrees(compared: MethodComparison) -> None:
    assert compared.names == (*compared.methods, "last tokens", "first tokens")
    table = compared.to_pandas()
    assert table["method"].tolist() == list(compared.names)
    assert table["seconds"][:3].gt(0).all()
    assert table["seconds"][3:].isna().all()
    np.testing.assert_array_equal(np.diag(compared.agreement), 1.0)
    np.testing.assert_array_equal(compared.agreement, compared.agreement.T)
    both = compared.attributions[0].compare(compared.attributions[1]).rank_correlation
    assert compared.agreement[0, 1] == pytest.approx(np.nanmean(both))
    assert compared.agreement[-2, -1] == pytest.approx(-1.0)
    assert not np.isnan(compared.weight_correlation[[0, 2]]).any()
    assert np.isnan(compared.weight_correlation[1]), "occlusion is not run again"
    assert np.isnan(compared.p_over_others).all(), "there is one text"


def test_what_removals_are_made_of_is_best_and_chance_is_not(compared: MethodComparison) -> None:
    assert compared.methods[compared.candidate] == "occlusion"
    values = {
        "supported": [[0.01, 0.03], [0.02, 0.04]],
        "inconclusive": [[0.01, 0.06], [0.02, 0.04]],
    }
    for verdict, p_values in values.items():
        changed = replace(compared, candidate_p_values=np.array(p_values))
        assert changed.verdict == verdict
        assert (changed.best == "occlusion") == (verdict == "supported")
        if verdict == "supported":
            assert changed.sentence.startswith("Occlusion finds what matters best: LDS ")
        else:
            assert changed.sentence.startswith("No method is shown to be better than position")


def test_the_choice_is_tested_on_removals_that_it_did_not_see(tiny_lm: MakeLM) -> None:
    """Of attributions at random the best on one half is no better than chance on the other."""
    lm = tiny_lm("gpt2")
    text = texts(lm, length=14)[0]

    class AtRandom(captum.attr.FeatureAblation):
        """Draws its numbers."""

        def attribute(self, inputs, **kwargs):  # type: ignore[no-untyped-def]
            import torch

            return torch.randn(inputs.shape)

    methods = {f"random {k}": {"method": AtRandom(None)} for k in range(6)}
    claims = []
    for seed in range(25):
        found = compare_methods(
            lm,
            text,
            methods=methods,
            outputs=[0],
            removal="mean",
            randomisation=False,
            seed=seed,
            progress=False,
        )
        claims.append((found.candidate_p_values <= 0.05).all())
        assert found.attributions[0].scores.any()
    assert sum(claims) <= 3


def test_several_texts_are_compared_in_pairs(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("llama")
    found = compare_methods(
        lm, texts(lm, 8, 12), methods=METHODS, orders=9, randomisation=False, progress=False
    )
    assert found.lds.shape == (8, 2, 5)
    assert found.attributions == ()
    means = found.lds.mean(axis=(0, 1))
    np.testing.assert_allclose(found.intervals[:, 0], means)
    assert (found.intervals[:, 1] <= means).all()
    assert (found.intervals[:, 2] >= means).all()
    assert np.isnan(found.p_over_others).sum() == 1
    assert (
        "Over 8 texts it is better than"
        in replace(found, candidate_p_values=np.full((2, 2), 0.01)).sentence
    )
    check_record(found)


def test_pairs_over_texts_agree_with_other_tests_and_are_corrected() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal((0.6, 0.0, 0.5), size=(30, 3))
    p_values = _over_others(scores, 0, np.random.default_rng(1))
    single = [
        test(scores[:, 0], scores[:, k], alternative="greater").pvalue
        for test in (ttest_rel, wilcoxon)
        for k in (1, 2)
    ]
    assert np.isnan(p_values[0])
    assert p_values[1] == pytest.approx(2 * np.mean(single[::2]), abs=0.02)
    assert p_values[2] == pytest.approx(np.mean(single[1::2]), abs=0.05)


def test_what_does_not_run_is_named_and_the_model_stays_as_it_was(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    before = model_state(lm.model)
    found = compare_methods(
        lm,
        texts(lm)[0],
        methods=["lrp", captum.attr.Saliency, "attention"],
        versus=5,
        score="logprob",
        orders=3,
        progress=False,
    )
    assert found.methods == ("gradient", "attention")
    assert "Captum's LRP has no rule" in found.refused["LRP"]
    assert "Skipped: LRP: " in found.note
    assert found.explained.startswith("log-probability against ")
    assert model_state(lm.model) == before
    with pytest.raises(ValueError, match="methods: none runs on"):
        compare_methods(lm, texts(lm)[0], methods=["lrp"], orders=3, progress=False)


def test_bad_arguments_say_what_is_wrong(tiny_lm: MakeLM) -> None:
    lm = tiny_lm("gpt2")
    (text,) = texts(lm)
    for given in ([], [text, "a text"], 5):
        with pytest.raises(TypeError, match="generation: got"):
            compare_methods(lm, given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"methods: got .* accepts each once"):
        compare_methods(lm, text, methods=["ig", "integrated_gradients"])
    with pytest.raises(ValueError, match="methods: got none"):
        compare_methods(lm, text, methods=[])
    with pytest.raises(TypeError, match="methods: got a str"):
        compare_methods(lm, text, methods="ig")
    with pytest.raises(ValueError, match="method: got 'nothing'"):
        compare_methods(lm, text, methods={"mine": {"method": "nothing"}})
    with pytest.raises(ValueError, match="orders: got 1"):
        compare_methods(lm, text, methods=METHODS, orders=1)


def test_its_page_has_every_number_and_its_labels_are_apart(
    compared: MethodComparison,
) -> None:
    view = compared.fragment()
    rows = cells_of(view)
    assert rows[0][:4] == ["Method", "LDS", "p, chance", "p, position"]
    order = np.argsort(-compared.intervals[:, 0])
    assert [row[0] for row in rows[1:6]] == [compared.names[k] for k in order]
    text = Outline(sanitised(view)).text
    assert compared.sentence in text
    assert "Spearman's correlation" in text
    assert view.count("<svg") == 1
    hostile = replace(compared, methods=("<b>x</b>", *compared.methods[1:]))
    assert "<b>x</b>" not in hostile.fragment()
    assert document(view)
    check_record(compared)


def test_its_explorer_shows_the_chosen_method(compared: MethodComparison) -> None:
    explorer = compared.explore()
    assert explorer.selected == compared.candidate
    explorer.strip.selected = 2
    explorer.method.value = 0
    assert explorer.selected == 0
    assert explorer.strip.selected == 2, "the same output stays chosen"
    bundle, _ = explorer.strip._repr_mimebundle_()
    assert compared.attributions[0].subtitle in bundle["text/html"]
    without = replace(compared, attributions=()).explore()
    assert not hasattr(without, "strip")
