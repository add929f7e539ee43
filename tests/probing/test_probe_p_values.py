"""p-values of probes: by hand, over several layers, and how often they claim what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calibration_probing import false_positive_cases, planted_cases
from record_samples import probes
from scipy.stats import ttest_1samp

from ecco_captum import ProbeReport, load_record


def report(accuracy: list[list[float]], control: list[list[float]], **given: object) -> ProbeReport:
    rows, trials = np.shape(accuracy)
    fields = {
        "representations": ("hidden",) * rows,
        "layers": tuple(f"block {k}" for k in range(rows)),
        "accuracy": np.array(accuracy),
        "control_accuracy": np.array(control),
        "rates": np.ones((rows, trials, 2)),
        "confusion": np.full((rows, 2, 2), 100 * trials),
        "majority": np.full(trials, 0.5),
        "by_type": np.full(trials, 0.4),
        "labels": ("a", "b"),
        "codelength": None,
        "settings": {"test_size": 0.25, "control": "type"},
        **given,
    }
    return probes((), **fields)  # type: ignore[arg-type]


ACCURACY = [[0.90, 0.88, 0.93, 0.91], [0.52, 0.55, 0.47, 0.50]]
CONTROL = [[0.60, 0.64, 0.61, 0.58], [0.50, 0.56, 0.47, 0.49]]


def test_it_is_students_test_of_trials_whose_mean_is_less_sure() -> None:
    made = report(ACCURACY, CONTROL)
    # 0.25 are tested on, nine tenths of the others trained on.
    share = (1 / 4 + 0.25 / (0.9 * 0.75)) / (1 / 4)
    for row in range(2):
        for p, values in (
            (made.p_selectivity[row], made.selectivity[row]),
            (made.p_accuracy[row], made.accuracy[row] - 0.5),
        ):
            spread = np.sqrt(share) * (values - values.mean()) + values.mean()
            expected = ttest_1samp(spread, 0, alternative="greater").pvalue
            assert p == pytest.approx(expected, rel=1e-9)


def test_both_must_hold_and_all_layers_are_looks() -> None:
    made = report(ACCURACY, CONTROL)
    both = np.maximum(made.p_selectivity, made.p_accuracy)
    assert both[0] < both[1]
    np.testing.assert_allclose(made.p_adjusted, [2 * both[0], max(2 * both[0], both[1])])
    assert made.verdict == "supported"
    assert "1 of 2 layers beats both the control task and the labels that words" in made.sentence
    assert f"(smallest p = {made.p_adjusted[0]:.2g}, adjusted" in made.sentence
    assert "4 trials" in made.sentence
    memorised = report(ACCURACY, ACCURACY)
    assert memorised.verdict == "inconclusive", "what the control task reaches, too"
    told = report(ACCURACY, CONTROL, by_type=np.full(4, 0.95))
    assert told.verdict == "inconclusive", "what words alone tell"
    assert told.claim.startswith("0 of 2 layers beat both")


def test_the_more_of_the_words_are_tested_on_the_less_sure() -> None:
    few, many = (report(ACCURACY, CONTROL, settings={"test_size": k}) for k in (0.1, 0.6))
    assert (few.p_selectivity < many.p_selectivity).all()


def test_where_words_are_not_known_the_most_frequent_label_is_the_baseline() -> None:
    made = report(ACCURACY, CONTROL, by_type=np.full(4, np.nan))
    np.testing.assert_array_equal(made.baseline, made.majority)
    assert np.isfinite(made.p_accuracy).all()


def test_equal_trials_are_no_surer_than_half_a_word() -> None:
    made = report([[0.506] * 4], [[0.505] * 4])
    assert 0.1 < made.p_selectivity[0] < 0.5
    assert report([[0.9] * 4], [[0.5] * 4]).p_selectivity[0] < 1e-4


def test_without_trials_or_control_tasks_there_is_no_test() -> None:
    single = report([[0.9]], [[0.5]])
    assert np.isnan(single.p_adjusted).all()
    assert (single.verdict, "needs at least two trials" in single.claim) == ("inconclusive", True)
    missing = report(ACCURACY, np.full((2, 4), np.nan).tolist())
    assert np.isfinite(missing.p_accuracy).all()
    assert (missing.verdict, "needs a control task" in missing.claim) == ("inconclusive", True)


def test_p_values_are_in_the_table() -> None:
    made = report(ACCURACY, CONTROL)
    frame = made.to_pandas()
    for name in ("p_accuracy", "p_selectivity", "p_adjusted"):
        np.testing.assert_array_equal(frame[name], getattr(made, name))
    old = load_record(Path(__file__).parents[1] / "saved_records" / "probes.npz")
    assert isinstance(old, ProbeReport)
    assert len(old.p_adjusted) == len(old.layers)


def test_claims_about_nothing_are_rare() -> None:
    claims = [claimed(seed) for _, claimed in false_positive_cases() for seed in range(6)]
    # At 5% each, more than 6 of 36 have a chance of 1 in 300.
    assert sum(claims) <= 6


def test_a_label_in_the_states_is_found() -> None:
    claims = [claimed(seed) for _, claimed in planted_cases() for seed in range(4)]
    assert sum(claims) >= 7
