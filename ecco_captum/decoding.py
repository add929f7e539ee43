r"""How the model decodes: its generation settings, the seed, the progress bar."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
import transformers

from ecco_captum.models import LanguageModel
from ecco_captum.progress import Progress, progress_bar

_SAMPLING_ONLY = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff")


def new_tokens(asked: int | None, options: dict[str, Any]) -> int:
    """How many tokens may be written: as asked, else as the user's own settings say, else 32."""
    given = options.get("generation_config")
    if given is not None and not isinstance(given, transformers.GenerationConfig):
        raise TypeError(
            f"generation_config: got a {type(given).__name__}, accepts a transformers "
            "GenerationConfig"
        )
    most = asked if asked is not None else getattr(given, "max_new_tokens", None)
    if most is None:
        return 32
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"max_new_tokens: got {most!r}, accepts a whole number from 1")
    return most


def generation_config(lm: LanguageModel, max_new_tokens: int, options: dict[str, Any]) -> Any:
    """The checkpoint's generation settings, with the user's options, as one copy of its own."""
    options = dict(options)
    given = options.pop("generation_config", None)
    config = copy.deepcopy(given or lm.model.generation_config)
    unknown = sorted(name for name in options if not hasattr(config, name))
    if unknown:
        raise ValueError(
            f"options: {', '.join(unknown)} unknown; accepted: max_new_tokens, seed, progress and "
            "every option of transformers.GenerationConfig"
        )
    if options.get("num_return_sequences", config.num_return_sequences) not in (None, 1):
        raise ValueError("options: num_return_sequences accepts 1; a Generation is one sequence")
    # A checkpoint's own default does not decide whether a draw is made; the user's settings do.
    options.setdefault("do_sample", bool(given is not None and given.do_sample))
    if not options["do_sample"]:
        # Left in place, the checkpoint's sampling defaults make transformers warn on each run.
        for name in _SAMPLING_ONLY:
            options.setdefault(name, None)
    options.update(max_new_tokens=max_new_tokens, max_length=None, return_dict_in_generate=False)
    if config.pad_token_id is None:
        options.setdefault("pad_token_id", _padding(lm, config))
    config.update(**options)
    return config


def _padding(lm: LanguageModel, config: Any) -> int | None:
    """One sequence is never padded, but transformers asks for the token."""
    end = config.eos_token_id
    end = end[0] if isinstance(end, list | tuple) else end
    return lm.tokenizer.pad_token_id if lm.tokenizer.pad_token_id is not None else end


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options as they can be kept in a file."""
    kept = (str, int, float, bool, type(None))
    return {name: v if isinstance(v, kept) else str(v) for name, v in options.items()}


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    if seed is None:
        yield
        return
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed: got {seed!r}, accepts a whole number from 0 below 2^63")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def progress_criteria(total: int, progress: Progress) -> tuple[Any, Any]:
    """A criterion that never stops anything: it moves the bar, for every kind of decoding."""
    bar = progress_bar(progress, total=total, desc="Generating", unit="token")

    def advance(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        bar.update()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return transformers.StoppingCriteriaList([advance]), bar
