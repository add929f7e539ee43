"""What is said of a checkpoint before it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

import ecco_captum
from ecco_captum.models import checkpoint
from ecco_captum.models.checkpoint import check_reachable, config_of, is_cached_only


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    checkpoint._unreachable.cache_clear()
    yield
    checkpoint._unreachable.cache_clear()


def answers(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], object]) -> None:
    def model_info(self: object, name: str, **options: Any) -> object:
        return answer()

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)


def raising(error: Exception) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no route to host"), "cannot be reached (no route to host)"),
        (TimeoutError(), "cannot be reached (TimeoutError)"),
        (OfflineModeIsEnabled("off"), "cannot be reached (HF_HUB_OFFLINE is set)"),
        (huggingface_hub.errors.HFValidationError("no id"), "the hub has no model of that name"),
    ],
)
def test_what_no_hub_has_is_refused(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, raising(error))
    with pytest.raises(ValueError, match="name: 'some/model' could not be loaded") as caught:
        check_reachable("some/model")
    assert line in str(caught.value)
    assert "smollm2-135m" in str(caught.value)
    with pytest.raises(ValueError, match="some/model"):
        ecco_captum.load("some/model")


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, lambda: time.sleep(5))
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.2)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="no answer within"):
        check_reachable("some/model")
    assert time.perf_counter() - start < 2


def test_what_the_hub_has_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, lambda: None)
    check_reachable("some/model")
    assert not is_cached_only("some/model")


def test_what_is_here_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, raising(AssertionError("asked")))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    check_reachable(str(tmp_path))
    check_reachable("minilm-l6")
    assert config_of(str(tmp_path)) == {"model_type": "gpt2"}
    for name in ("./none", str(tmp_path / "none.gguf")):
        with pytest.raises(ValueError, match="there is no such file or directory"):
            check_reachable(name)
        assert config_of(name) is None


def test_what_is_cached_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"n_head": 2}))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *given: str(config))
    answers(monkeypatch, raising(OSError("no network")))
    check_reachable("some/model")
    assert is_cached_only("some/model")
    assert config_of("some/model") == {"n_head": 2}


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_config_is_left_to_loading(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert config_of(str(tmp_path)) is None


def test_all_of_it_without_torch() -> None:
    code = (
        "import sys, ecco_captum.models.checkpoint, ecco_captum.attribution.methods.names as n\n"
        "print(n.check_name('ig'), {'torch', 'transformers', 'captum'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "integrated_gradients set()"
