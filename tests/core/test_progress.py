"""A bar, or a function that takes the part done and may stop the work, leaving no hook behind."""

from __future__ import annotations

from typing import Any

import pytest
import tqdm.auto
from method_samples import subject
from tqdm.notebook import tqdm_notebook

from ecco_captum import faithfulness, generate, hidden_states, saliency
from ecco_captum.core.progress import _Full, progress_bar
from ecco_captum.testing import model_state


def test_a_function_gets_the_part_that_is_done() -> None:
    parts: list[float] = []
    with progress_bar(parts.append, total=4, desc="Working", unit=" parts") as bar:
        bar.update()
        bar.update(2)
        bar.update(9)
    assert parts == [0.25, 0.75, 1.0]
    with progress_bar(parts.append, total=None, desc="Working") as bar:
        bar.update(0)
    assert parts[-1] == 0


@pytest.mark.parametrize("progress", [False, True])
def test_else_it_is_a_bar(progress: bool) -> None:
    with progress_bar(progress, total=3, desc="Working") as bar:
        assert isinstance(bar, tqdm.auto.tqdm)
        assert bar.disable is not progress


@pytest.mark.parametrize(("bases", "style"), [((_Full,), "success"), ((), "danger")])
def test_a_notebooks_bar_is_gone_when_the_work_is_done(bases: tuple[type, ...], style: str) -> None:
    kind = type("Bar", (*bases, tqdm_notebook), {})
    with kind(total=1.0, display=False) as bar:
        for _ in range(3):
            bar.update(0.333)  # 0.999
    assert bar.container.children[1].bar_style == style


class StoppedError(Exception):
    """Raised by the function."""


def stop(part: float) -> None:
    raise StoppedError(part)


@pytest.mark.parametrize("work", ["saliency", "faithfulness", "hidden_states", "generate"])
def test_work_that_is_stopped_leaves_nothing_behind(work: str) -> None:
    lm, generation = subject("causal:gpt2")
    before = model_state(lm.model)
    attribution = saliency(lm, generation, progress=False)
    given: dict[str, Any] = {
        "saliency": lambda **o: saliency(lm, generation, method="ig", n_steps=5, **o),
        "faithfulness": lambda **o: faithfulness(lm, attribution, **o),
        "hidden_states": lambda **o: hidden_states(lm, ["one text", "another"], **o),
        "generate": lambda **o: generate(lm, "a b", max_new_tokens=4, **o),
    }
    parts: list[float] = []
    given[work](progress=parts.append)
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1, abs=1e-6)
    with pytest.raises(StoppedError):
        given[work](progress=stop)
    assert model_state(lm.model) == before
