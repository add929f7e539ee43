"""The line beside an explorer's picture: how long work takes, and what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from explorer_samples import GENERATION, LM, settled

import ecco_captum as ec
from ecco_captum.widgets.runner import Estimate, Runner
from ecco_captum.widgets.wording import duration, plain_words


def error_of(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # any, its words are what is tested
        call()
    return caught.value


@pytest.mark.parametrize(
    ("call", "plain"),
    [
        (
            lambda: ec.saliency(LM, GENERATION, versus="no single token", progress=False),
            "Contrast: 'no single token' is 13 tokens. Choose one.",
        ),
        (
            lambda: ec.saliency(LM, GENERATION, method="attention_rollout", score="prob"),
            "Attention rollout reads no score: set Score to logit and empty Contrast.",
        ),
        (
            lambda: ec.saliency(LM, GENERATION, method="occlusion", aggregate="sum"),
            "Occlusion gives one number for each token: set Combine by to the method's own.",
        ),
        (
            lambda: ec.saliency(LM, GENERATION, score="entropy", versus="a"),
            "Contrast: entropy has no token to contrast. Empty the box.",
        ),
        (
            lambda: ec.generate(LM, "a b c", max_new_tokens=500),
            "Tokens: the prompt's 4 and 500 more are 504; the model reads at most 64. "
            "Ask for fewer.",
        ),
        (
            lambda: ec.generate(LM, "a " * 40),
            "Prompt: it has 80 tokens, the model reads at most 64. Shorten it.",
        ),
    ],
)
def test_errors_that_controls_can_cause_are_plain(call: Callable[[], object], plain: str) -> None:
    assert plain_words(error_of(call)) == plain


def test_other_errors_lose_the_names_of_functions_and_arguments() -> None:
    said = plain_words(ValueError("n_draws: got 0, accepts 1 or more; see ec.force_decode()"))
    assert said == "0 does not work; possible: 1 or more; see force decode"
    assert plain_words(MemoryError()) == "MemoryError"
    assert "memory is full" in plain_words(RuntimeError("CUDA out of memory. Tried to …"))


def test_durations_are_about() -> None:
    assert [duration(s) for s in (0.2, 12.4, 59.0, 170.0, 5400.0)] == [
        *("1 s", "12 s", "59 s", "3 min", "1.5 h")
    ]


def test_long_work_says_so_and_waits() -> None:
    runner, results = Runner(), list[int]()

    def run(seconds: float) -> None:
        runner.run(
            "Occlusion",
            lambda progress: 1,
            results.append,
            estimate=lambda: Estimate(seconds, "A shorter text is quicker."),
        )
        runner.wait()

    run(170.0)
    said = str(runner.message.value)
    assert "Occlusion: about 3 min. A shorter text is quicker." in said
    assert not results
    assert runner.busy
    assert runner.start.layout.display == runner.button.layout.display == ""
    runner.button.click()
    assert "Occlusion: cancelled" in str(runner.message.value)
    assert runner.start.layout.display == "none"
    run(170.0)
    runner.start.click()
    assert settled(runner) == ""
    assert results == [1]
    run(5.0)
    assert results == [1, 1], "short work starts at once"
    assert not runner.busy


def test_work_says_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecco_captum.widgets.runner._SURE", 0.05)
    runner, half, go_on = Runner(), threading.Event(), threading.Event()

    def work(progress: Callable[[float], None]) -> None:
        time.sleep(0.2)
        progress(0.001)
        time.sleep(0.1)
        progress(0.1)
        half.set()
        go_on.wait(10)

    runner.run("Work", work, lambda result: None)
    assert half.wait(10)
    assert "Work: about 3 s left" in str(runner.message.value)
    go_on.set()
    assert settled(runner) == ""
