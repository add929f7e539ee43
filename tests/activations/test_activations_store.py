"""Corpora on disk: the same numbers as in memory, whatever happens on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from activation_samples import corpus
from method_samples import subject

from ecco_captum import force_decode, hidden_states, neurons
from ecco_captum.activations import reading as activations
from ecco_captum.activations import store as activations_store
from ecco_captum.activations.record import Activations
from ecco_captum.core.stored_array import StoredValues, opened_group
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

READ: dict[str, Callable[..., Activations]] = {"neurons": neurons, "hidden": hidden_states}


def same(found: Activations, expected: Activations) -> None:
    np.testing.assert_allclose(
        np.asarray(found.values), np.asarray(expected.values), rtol=1e-5, atol=1e-5
    )
    assert found.tokens.ids.tolist() == expected.tokens.ids.tolist()
    assert found.tokens.texts == expected.tokens.texts
    assert found.sequences.tolist() == expected.sequences.tolist()
    assert found.layers.tolist() == expected.layers.tolist()
    assert (found.kind, found.stack, found.model) == (
        expected.kind,
        expected.stack,
        expected.model,
    )


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "_WINDOW_BYTES", 2**14)
    monkeypatch.setattr(activations_store, "_CHUNK_BYTES", 2**12)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "masked:bert"])
def test_the_same_numbers_as_in_memory(name: str, kind: str, tmp_path: Path) -> None:
    lm, _ = subject(name)
    texts, before = corpus(), model_state(lm.model)
    found = READ[kind](lm, iter(texts), store=tmp_path / "acts.zarr", batch_tokens=40)
    assert model_state(lm.model) == before
    assert isinstance(found.values, StoredValues)
    same(found, READ[kind](lm, texts))
    same(Activations.open(tmp_path / "acts.zarr"), found)
    again = READ[kind](lm, texts, layers=[-1], dtype="float16", store=tmp_path / "some.zarr")
    assert again.values.dtype == np.float16
    np.testing.assert_allclose(again.values[0], found.values[-1], rtol=2e-3, atol=1e-4)


@pytest.mark.usefixtures("small_windows")
def test_an_encoder_decoders_generations(tmp_path: Path) -> None:
    lm, text = subject("seq2seq:t5")
    texts = [text, force_decode(lm, [5, 9, 7], [8, 30]), text]
    for stack in ("decoder", "encoder"):
        stored = neurons(lm, texts, stack=stack, store=tmp_path / stack)
        same(stored, neurons(lm, texts, stack=stack))
    # The same outputs behind another source are another text.
    other = [text, force_decode(lm, [5, 9, 8], [8, 30]), text]
    with pytest.raises(ValueError, match="texts: number 1, from 0, is not the one that"):
        neurons(lm, other, store=tmp_path / "decoder")


@pytest.mark.usefixtures("small_windows")
def test_a_run_that_stopped_goes_on(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    texts, path = corpus(), tmp_path / "acts.zarr"

    def interrupted(after: int) -> Iterator[list[int]]:
        for number, text in enumerate(texts):
            if number == after:
                raise KeyboardInterrupt
            yield text

    read: list[int] = []
    forward = lm.model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        read.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    for after in (2, 30, 31, 55):
        with pytest.raises(KeyboardInterrupt):
            neurons(lm, interrupted(after), store=path, batch_tokens=40)
    lm.model.forward = counted  # type: ignore[method-assign]
    try:
        found = neurons(lm, texts, store=path, batch_tokens=40)
        assert 0 < sum(read) < sum(map(len, texts)) / 2
        read.clear()
        neurons(lm, texts, store=path)
        assert sum(read) == len(texts[0])  # only whether it is still the same model
    finally:
        del lm.model.forward  # type: ignore[method-assign]
    same(found, neurons(lm, texts))
    # More texts behind the ones that are there.
    more = [*texts, *corpus(7, seed=1)]
    same(neurons(lm, more, store=path), neurons(lm, more))


@pytest.mark.usefixtures("small_windows")
def test_an_error_in_the_middle_keeps_what_was_read(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    texts = corpus()
    with pytest.raises(ValueError, match="texts: number 50, from 0: prompt: it has no tokens"):
        neurons(lm, [*texts[:50], [], *texts[50:]], store=tmp_path / "acts.zarr")
    with pytest.raises(ValueError, match="has not finished"):
        Activations.open(tmp_path / "acts.zarr")
    same(neurons(lm, texts, store=tmp_path / "acts.zarr"), neurons(lm, texts))


def test_other_texts_models_and_arguments_are_refused(
    tmp_path: Path, tiny_lm: Callable[..., LanguageModel]
) -> None:
    lm, path, texts = tiny_lm("gpt2"), tmp_path / "acts.zarr", corpus(5)
    neurons(lm, texts, store=path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for given, options, message in (
        ([*texts[:3], [7], texts[4]], {}, "texts: number 3, from 0, is not the one that"),
        (texts[:4], {}, "texts: number 4, from 0, is not the one that"),
        (texts, {"layers": [0]}, r"store: .* holds layers \[0, 1, 2\], this run has \[0\]"),
        (texts, {"dtype": "float16"}, "holds dtype 'float32', this run has 'float16'"),
        ([], {}, "texts: got none, accepts at least one text"),
    ):
        with pytest.raises(ValueError, match=message):
            neurons(lm, given, store=path, **options)
    with pytest.raises(ValueError, match="holds kind 'neurons', this run has 'hidden'"):
        hidden_states(lm, texts, store=path)
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight *= 1.1
    with pytest.raises(ValueError, match="of the first text is not what this model gives"):
        neurons(lm, texts, store=path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_nothing_is_left_where_nothing_could_be_read(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    for wrong in ([[]], [], [[999999]]):
        with pytest.raises(ValueError, match=r"texts: "):
            neurons(lm, wrong, store=tmp_path / "acts.zarr")
    assert not list(tmp_path.iterdir())


_NURSERY = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch, zarr
from method_samples import subject
from activation_samples import corpus
from ecco_captum import neurons
from ecco_captum.activations import reading as activations
from ecco_captum.activations import store as activations_store

torch.set_num_threads(1)
activations._WINDOW_BYTES = activations_store._CHUNK_BYTES = 2**12
lm, _ = subject("causal:gpt2")
lm.anatomy
texts = corpus(300)
print("ready", flush=True)
for line in sys.stdin:
    store, *wait = line.split()
    child = os.fork()
    if not child:
        neurons(lm, texts, store=store, batch_tokens=20)
        while wait:  # to be killed, even where the run was quicker
            signal.pause()
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_killed_at_any_moment_it_completes(tmp_path: Path) -> None:
    lm, _ = subject("causal:gpt2")
    path = tmp_path / "acts.zarr"
    code = _NURSERY.format(tests=str(Path(__file__).parents[1] / "support"))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    rng, held, ends = random.Random(0), [0], []
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None

        def started(order: str) -> int:
            print(order, file=nursery.stdin, flush=True)
            return int(nursery.stdout.readline())

        assert nursery.stdout.readline() == "ready\n"
        begun = time.monotonic()
        started(str(tmp_path / "whole.zarr"))
        ends.append(int(nursery.stdout.readline()))
        whole = time.monotonic() - begun
        # Where other work slows the runs down, more of them are killed too early to say anything.
        while len(ends) < 19 or (len(set(held)) <= 4 and len(ends) < 100):
            child = started(f"{path} wait")
            # From before the folder is there to long after the run's first texts.
            time.sleep(rng.uniform(0, whole / 3))
            os.kill(child, signal.SIGKILL)
            ends.append(int(nursery.stdout.readline()))
            if path.is_dir() and (path / "zarr.json").exists():
                held.append(opened_group(path).attrs["ecco_captum"]["texts"])
        started(str(path))
        ends.append(int(nursery.stdout.readline()))
    assert held == sorted(held), "texts were lost"
    assert len(set(held)) > 4, "killed too early or too late: nothing was tested"
    assert ends == [0, *[signal.SIGKILL] * (len(ends) - 2), 0]
    same(Activations.open(path), neurons(lm, corpus(300)))
    assert not list(path.rglob("*.partial"))
