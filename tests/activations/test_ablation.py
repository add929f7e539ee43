"""Neurons taken out of the model: against hooks that do the same, and nothing left behind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import tiny_models
import tiny_tokenizers
import torch
from method_samples import subject
from torch import Tensor

from ecco_captum import ablate, generate, neurons, nmf
from ecco_captum.factors.record import Factors
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

TEXT = [5, 9, 6, 7, 30, 8, 9]
CHOSEN = {0: [1, 4], 2: [0]}


@torch.no_grad()
def logits(lm: LanguageModel) -> Tensor:
    found: Tensor = lm.model(torch.tensor([TEXT]), use_cache=False).logits
    return found


@contextmanager
def hooked(lm: LanguageModel, change: Callable[[int, Tensor], None]) -> Any:
    """Hooks that change a copy of what the down-projections are given."""

    def hook(_: Any, given: Any, block: int) -> Any:
        copy = given[0].clone()
        change(block, copy)
        return (copy, *given[1:])

    handles = []
    for k, block in enumerate(lm.anatomy.blocks):
        module = lm.model.get_submodule(block.neurons[0].module)
        handles.append(module.register_forward_pre_hook(lambda m, given, k=k: hook(m, given, k)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def setting(value: Any) -> Callable[[int, Tensor], None]:
    def change(block: int, values: Tensor) -> None:
        for neuron in CHOSEN.get(block, []):
            values[..., neuron] = value(block, neuron, values) if callable(value) else value

    return change


@pytest.mark.parametrize("name", ["causal:gpt2", "causal:llama", "masked:bert"])
def test_it_does_what_hooks_do(name: str) -> None:
    lm, _ = subject(name)
    acts = neurons(lm, [TEXT, TEXT[:3]])
    means = acts.values.mean(axis=1)
    before, plain = model_state(lm.model), logits(lm)
    pairs = [(0, 1), (0, 4, 0.7), (2, 0)]
    for value, expected in (
        ("zero", 0.0),
        (0.5, 0.5),
        ("mean", lambda block, neuron, _: float(means[block, neuron])),
        (lambda values: 2 * values, lambda _, neuron, values: 2 * values[..., neuron]),
    ):
        with hooked(lm, setting(expected)):
            wanted = logits(lm)
        for given in (CHOSEN, pairs):
            with ablate(lm, neurons=given, value=value, reference=acts):
                found = logits(lm)
            torch.testing.assert_close(found, wanted)
            assert not torch.allclose(found, plain, atol=1e-4)
    assert model_state(lm.model) == before
    torch.testing.assert_close(logits(lm), plain)


def test_generation_and_capture_happen_without_the_neurons() -> None:
    lm, _ = subject("causal:llama")
    everything = {k: range(lm.anatomy.blocks[k].neurons[0].width) for k in range(3)}
    before = model_state(lm.model)
    plain = neurons(lm, TEXT).values
    with ablate(lm, neurons=everything):
        written = generate(lm, TEXT, max_new_tokens=6)
        inside = neurons(lm, TEXT).values
    # What a block computes is read before it is taken out; later blocks compute something else.
    np.testing.assert_array_equal(inside[0], plain[0])
    assert not np.allclose(inside[1], plain[1], atol=1e-4)

    def clear(_: int, values: Tensor) -> None:
        values.zero_()

    with hooked(lm, clear):
        wanted = generate(lm, TEXT, max_new_tokens=6)
    assert written.output_ids.tolist() == wanted.output_ids.tolist()
    np.testing.assert_allclose(written.logits, wanted.logits, atol=1e-5)
    assert written.output_ids.tolist() != generate(lm, TEXT, max_new_tokens=6).output_ids.tolist()
    assert model_state(lm.model) == before


def test_contexts_nest_and_errors_leave_nothing_behind() -> None:
    lm, _ = subject("causal:gpt2")
    before = model_state(lm.model)
    with ablate(lm, neurons={0: [1]}), ablate(lm, neurons={0: [4], 2: [0]}):
        both = logits(lm)
    with ablate(lm, neurons=CHOSEN):
        torch.testing.assert_close(logits(lm), both)
    with pytest.raises(KeyboardInterrupt), ablate(lm, neurons=CHOSEN):
        raise KeyboardInterrupt
    with (
        pytest.raises(ValueError, match="value: the function must return a tensor of the shape"),
        ablate(lm, neurons=CHOSEN, value=lambda values: values[..., :1]),
    ):
        logits(lm)
    assert model_state(lm.model) == before


def factors_of(lm: LanguageModel) -> Factors:
    return nmf(neurons(lm, [TEXT, TEXT[::-1]]), 3, negatives="split", max_iter=5000)


def test_a_factors_direction_is_taken_out() -> None:
    lm, _ = subject("causal:llama")
    factors = factors_of(lm)
    units = factors.directions[1] / np.linalg.norm(factors.directions[1], axis=1, keepdims=True)
    means = factors.activations.values.mean(axis=1)
    wanted_means = (means * units).sum(axis=1)
    for value, wanted in (("zero", np.zeros(3)), (2.0, np.full(3, 2.0)), ("mean", wanted_means)):

        def change(block: int, values: Tensor, wanted: np.ndarray = wanted) -> None:
            unit = torch.from_numpy(units[block])
            values += (float(wanted[block]) - values @ unit)[..., None] * unit

        with hooked(lm, change):
            expected = logits(lm)
        with ablate(lm, factor=(factors, 1), value=value):
            torch.testing.assert_close(logits(lm), expected)


@pytest.mark.parametrize("name", ["albert", "gpt_neox", "opt", "t5", "gemma2", "xlnet", "bloom"])
def test_whatever_the_architecture(name: str) -> None:
    kind = "seq2seq" if name == "t5" else "masked" if name == "albert" else "causal"
    model = tiny_models.build(kind, name)
    lm = LanguageModel(model, tiny_tokenizers.byte_level(), name)
    inputs = tiny_models.example_inputs(model)
    before = model_state(model)
    with torch.no_grad():
        plain = model(**inputs).logits
        last = len(lm.anatomy.blocks) - 1
        with ablate(lm, neurons={last: [0, 1, 2]}):
            found = model(**inputs).logits
        with ablate(lm, neurons={last: [0, 1, 2]}, value=lambda values: values):
            torch.testing.assert_close(model(**inputs).logits, plain)
    assert float((found - plain).abs().max()) > 1e-6
    assert model_state(model) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "neurons: give either neurons or factor"),
        ({"neurons": {}}, ValueError, "neurons: got {}, accepts a mapping from blocks"),
        ({"neurons": "all"}, (TypeError, ValueError), "neurons: got 'all', accepts a mapping"),
        ({"neurons": 3}, TypeError, "neurons: got 3, accepts a mapping"),
        ({"neurons": [(0, 1.5)]}, ValueError, "neurons: got .*, accepts a mapping"),
        ({"neurons": {9: [0]}}, ValueError, "no neuron 0 of block 9; 'tiny gpt2' has 3 blocks"),
        ({"neurons": {0: [10**6]}}, ValueError, "no neuron 1000000 of block 0; .* this one 80"),
        ({"neurons": {0: [-1]}}, ValueError, "there is no neuron -1 of block 0"),
        ({"neurons": {0: [1]}, "value": "median"}, ValueError, "value: got 'median', accepts"),
        ({"neurons": {0: [1]}, "value": True}, ValueError, "value: got True, accepts"),
        ({"neurons": {0: [1]}, "value": "mean"}, ValueError, "reference: a mean needs activations"),
        ({"factor": 3}, TypeError, r"factor: got 3, accepts a tuple \(factors, component\)"),
    ],
)
def test_errors(options: dict[str, Any], error: Any, message: str) -> None:
    lm, _ = subject("causal:gpt2")
    before = model_state(lm.model)
    with pytest.raises(error, match=message), ablate(lm, **options):
        pass
    assert model_state(lm.model) == before


def test_a_factor_of_another_model_is_refused() -> None:
    lm, _ = subject("causal:gpt2")
    factors = factors_of(lm)
    with pytest.raises(ValueError, match="component: got 3"), ablate(lm, factor=(factors, 3)):
        pass
    other = LanguageModel(
        tiny_models.build("causal", "bloom"), tiny_tokenizers.byte_level(), "bloom"
    )
    with (
        pytest.raises(ValueError, match="factor: block 0 of it has 80 neurons, that of 'bloom'"),
        ablate(other, factor=(factors, 0)),
    ):
        pass
    with (
        pytest.raises(ValueError, match="reference: it has not the 80 neurons of block 0"),
        ablate(lm, neurons={0: [1]}, value="mean", reference=neurons(lm, TEXT, layers=1)),
    ):
        pass


@pytest.mark.parametrize("name", ["causal:longcat_flash", "masked:mobilebert"])
def test_a_block_with_several_down_projections(name: str) -> None:
    kind, _, family = name.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the model says of its own configuration
        lm = LanguageModel(tiny_models.build(kind, family), tiny_tokenizers.byte_level(), family)
        sites = lm.anatomy.blocks[1].neurons
        assert len(sites) > 1
        acts = neurons(lm, TEXT)
        width = sites[0].width
        chosen = [2, 5, width + 1, width * 2 - 1]  # of the first two
        factors = nmf(acts, 2, negatives="split", layers=[1])
        for ablation, parts in (
            ({"neurons": {1: chosen}, "value": "mean", "reference": acts}, None),
            ({"factor": (factors, 1)}, factors.directions[1, 0]),
        ):
            with ExitStack() as hooks:
                for number, site in enumerate(sites):
                    own = slice(number * width, (number + 1) * width)

                    def change(given: Tensor, own: slice = own, parts: Any = parts) -> Tensor:
                        if parts is None:
                            means = torch.tensor(acts.values[1].mean(axis=0))[own]
                            mine = [c - own.start for c in chosen if own.start <= c < own.stop]
                            given = given.clone()
                            given[..., mine] = means[mine]
                            return given
                        unit = torch.tensor(parts[own]) / np.linalg.norm(parts[own])
                        return given - (given @ unit)[..., None] * unit

                    hook = lm.model.get_submodule(site.module).register_forward_pre_hook(
                        lambda _, given, change=change: (change(given[0]), *given[1:])
                    )
                    hooks.callback(hook.remove)
                wanted = logits(lm)
            with ablate(lm, **ablation):  # type: ignore[arg-type]
                found = logits(lm)
            torch.testing.assert_close(found, wanted)
            assert not torch.allclose(found, logits(lm), atol=1e-5)
