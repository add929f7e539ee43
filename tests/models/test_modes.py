"""Analyses of one model in several threads: each gives what it gives alone."""

from __future__ import annotations

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from method_samples import subject

from ecco_captum import ablate, hidden_states, neurons, rankings, saliency, wrap
from ecco_captum.models.modes import exclusive
from ecco_captum.testing import model_state


def test_threads_do_not_see_each_others_hooks() -> None:
    lm, generation = subject("causal:gpt2")
    texts = ["one text", "another, somewhat longer text"]
    work = (
        lambda: saliency(lm, generation, progress=False).scores,
        lambda: rankings(lm, generation).ranks,
        lambda: hidden_states(lm, texts, progress=False).values,
        lambda: neurons(lm, texts, progress=False).values,
    )
    before, expected = model_state(lm.model), [one() for one in work]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            for found, wanted in zip(pool.map(lambda one: one(), work), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
    assert model_state(lm.model) == before


def test_an_ablation_changes_this_thread_alone() -> None:
    lm, _ = subject("causal:gpt2")
    plain = hidden_states(lm, "one text").values
    found = []
    other = threading.Thread(target=lambda: found.append(hidden_states(lm, "one text").values))
    with ablate(lm, neurons={0: list(range(8))}, value=5.0):
        other.start()
        changed = hidden_states(lm, "one text").values
        time.sleep(0.2)
        assert not found, "the other thread waits"
    other.join()
    assert not np.array_equal(changed, plain)
    np.testing.assert_array_equal(found[0], plain)


def test_different_models_do_not_wait_for_each_other() -> None:
    (one, _), (other, _) = subject("causal:gpt2"), subject("causal:llama")
    found = []
    with exclusive(one.model):
        thread = threading.Thread(target=lambda: found.append(hidden_states(other, "text").shape))
        thread.start()
        thread.join(60)
    assert found


def test_where_parts_are_is_found_while_no_other_thread_runs_the_model() -> None:
    lm, _ = subject("causal:gpt2")
    # Its copy has not been watched yet.
    lm = wrap(copy.deepcopy(lm.model), lm.tokenizer)
    ended = threading.Event()
    with exclusive(lm.model):
        thread = threading.Thread(target=lambda: (lm.anatomy, ended.set()))
        thread.start()
        assert not ended.wait(0.5), "it would watch what this thread does"
    assert ended.wait(30)
