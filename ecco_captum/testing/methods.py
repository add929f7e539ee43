"""The battery for attribution methods: the naive loop, seeds, types, and a model left as it was."""

from __future__ import annotations

import contextlib
import copy
import random
from typing import Any

import numpy as np
import torch
from torch import nn

from ecco_captum.attribution.methods.catalogue import get_method
from ecco_captum.attribution.record import Attribution
from ecco_captum.attribution.saliency import saliency
from ecco_captum.generation.record import Generation
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing.records import check_record

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def model_state(model: nn.Module) -> dict[str, Any]:
    r"""Returns everything about a model that could be left changed: compare before and after.

    Args:
        model (nn.Module): any model.

    Returns:
        dict: the modules, their modes, plain attributes, replaced forwards and hooks; the buffers;
        what the config says; and of each parameter whether it asks for a gradient, has one, where
        it is, and how often it was written to.
    """
    return {
        "modules": {name: id(module) for name, module in model.named_modules()},
        "attributes": {
            name: {key: value for key, value in vars(module).items() if isinstance(value, _PLAIN)}
            for name, module in model.named_modules()
        },
        "buffers": {
            name: buffer.detach().cpu().contiguous().view(-1).tolist()
            for name, buffer in model.named_buffers()
        },
        "config": repr(getattr(model, "config", None)),
        "modes": {name: module.training for name, module in model.named_modules()},
        "forwards": {
            name: module.__dict__["forward"]
            for name, module in model.named_modules()
            if "forward" in module.__dict__
        },
        "hooks": {
            name: [len(getattr(module, hooks)) for hooks in _HOOKS]
            for name, module in model.named_modules()
        },
        "parameters": {
            name: (id(p), p.requires_grad, p.grad is None, p.device, p.dtype, p._version)
            for name, p in model.named_parameters()
        },
    }


_PLAIN = (bool, int, float, str, type(None))


class _InterruptedError(KeyboardInterrupt):
    """Raised in the middle of a forward, as a person does."""


def check_method(
    method: Any,
    lm: LanguageModel,
    generation: Generation,
    *,
    tolerance: float = 1e-4,
    **options: Any,
) -> None:
    r"""Checks an attribution method on one model and one text.

    All outputs at once equal one output at a time, and one target of memory at a time; the same
    seed gives the same numbers, and global random states stay as they were; float64 weights give
    the same numbers; what must add up to the score's difference does, up to ``deltas``; a model
    whose forward breaks in the middle is put back like one that runs through; unknown options are
    refused by name; the record passes :func:`check_record`.

    Args:
        method (str, type or object): as in :func:`saliency`.
        lm (LanguageModel): a small model, in memory twice for a moment.
        generation (Generation): a text of it, with two outputs or more.
        tolerance (float, optional): of numbers, relative to the largest. Default: 1e-4
        **options (Any): the method's own, such as few steps.

    Raises:
        AssertionError: with what is wrong.
        UnsupportedError: if the model cannot have the method; it is then left as it was.
    """
    name = get_method(method).name
    before, draws = model_state(lm.model), _random_states()
    try:
        whole = saliency(lm, generation, method=method, progress=False, **options)
    finally:
        assert model_state(lm.model) == before, f"{name}: the model is not as it was"
    assert _random_states() == draws, f"{name}: global random states have moved"
    check_record(whole)
    _check_rows(whole, name)
    again = saliency(lm, generation, method=method, progress=False, **options)
    np.testing.assert_array_equal(again.scores, whole.scores, f"{name}: another result each time")
    if not _draws(method):
        frugal = saliency(lm, generation, method=method, memory_budget=1, progress=False, **options)
        _check_close(frugal.scores, whole.scores, tolerance, f"{name}: a small memory_budget")
        _check_one_at_a_time(method, lm, generation, whole, tolerance, options)
    _check_double(method, lm, generation, whole, tolerance, options)
    _check_interrupted(method, lm, generation, options)
    _check_options(method, lm, generation)


def _draws(method: Any) -> bool:
    """Whether a method may draw, and then for as many positions as it is asked for at once."""
    defaults = get_method(method).defaults
    return defaults is None or "n_samples" in defaults


def _random_states() -> tuple[Any, ...]:
    return (
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["key"].tobytes(),
        torch.get_rng_state().numpy().tobytes(),
    )


def _check_close(scores: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    size = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(scores - expected).max())
    assert error <= tolerance * size, f"{what}: off by {error / size:.1e} of the largest score"


def _check_rows(whole: Attribution, name: str) -> None:
    assert whole.scores.dtype == np.float32, f"{name}: scores are {whole.scores.dtype}"
    assert np.isfinite(whole.scores).all(), f"{name}: scores are not finite"
    if (
        whole.deltas is not None
        and whole.differences is not None
        and whole.aggregate in ("", "sum")
    ):
        sums = whole.scores.astype(np.float64).sum(axis=1)
        error = np.abs(sums - whole.differences - whole.deltas).max()
        size = np.abs(whole.differences).max() or 1.0
        assert error <= 1e-3 * size, f"{name}: rows do not add up to differences plus deltas"


def _check_one_at_a_time(
    method: Any,
    lm: LanguageModel,
    generation: Generation,
    whole: Attribution,
    tolerance: float,
    options: dict[str, Any],
) -> None:
    """The naive loop over outputs."""
    for row, output in enumerate(np.asarray(whole.outputs).tolist()):
        alone = saliency(lm, generation, method=method, outputs=[output], progress=False, **options)
        what = f"{whole.method}: output {output} alone"
        _check_close(alone.scores[0], whole.scores[row], tolerance, what)


def _check_double(
    method: Any,
    lm: LanguageModel,
    generation: Generation,
    whole: Attribution,
    tolerance: float,
    options: dict[str, Any],
) -> None:
    model = copy.deepcopy(lm.model).double()
    double = LanguageModel(model, lm.tokenizer, lm.name)
    double_scores = saliency(double, generation, method=method, progress=False, **options)
    # Rounding of the score itself, which differences of scores enlarge.
    _check_close(
        double_scores.scores, whole.scores, 10 * tolerance, f"{whole.method}: float64 weights"
    )


def _check_interrupted(
    method: Any, lm: LanguageModel, generation: Generation, options: dict[str, Any]
) -> None:
    """Breaks the first and the second forward of a model in training, at its last weights."""
    modes = [(module, module.training) for module in lm.model.modules()]
    weighty = [m for m, _ in modes if any(True for _ in m.parameters(recurse=False))]
    name, left = get_method(method).name, 0

    def interrupt(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _InterruptedError

    handle = weighty[-1].register_forward_hook(interrupt)
    lm.model.train()
    try:
        before, draws = model_state(lm.model), _random_states()
        for forwards in (0, 1):
            left = forwards
            with contextlib.suppress(_InterruptedError):
                saliency(lm, generation, method=method, progress=False, **options)
            assert model_state(lm.model) == before, f"{name}: an error leaves the model changed"
            assert _random_states() == draws, f"{name}: an error moves global random states"
    finally:
        handle.remove()
        for module, training in modes:
            module.training = training


def _check_options(method: Any, lm: LanguageModel, generation: Generation) -> None:
    chosen = get_method(method)
    if chosen.defaults is None:
        return  # its own attribute() says what it accepts
    try:
        saliency(lm, generation, method=method, progress=False, no_such_option=1)
    except TypeError as error:
        assert "no_such_option" in str(error), f"{chosen.name}: the error does not name the option"
    else:
        raise AssertionError(f"{chosen.name}: an unknown option is accepted")
