r"""How a worker gets its model: by name, never as weights that travel."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ecco_captum.models.language_model import LanguageModel, load, load_tokenizer, wrap

_SAMPLED = 4096  # numbers of each parameter that its fingerprint is made of


@dataclass(frozen=True)
class ModelRecipe:
    r"""How to load a model, the same way on every machine.

    Args:
        source (str or Callable): what :func:`load` takes, or a function without arguments that
            returns a LanguageModel, or a model and its tokenizer. It must be importable on the
            worker.
        options (dict, optional): keyword arguments of :func:`load`: dtype, revision, device_map,
            quantization_config and the others.
        adapters (tuple of str, optional): PEFT adapters, loaded in this order.
        device (str, optional): where it is moved to; ``"auto"`` is a GPU where there is one.
            Default: ``"auto"``, unless ``options`` has a device_map

    Examples::

        >>> ModelRecipe("smollm2-135m", {"dtype": "float32"}).load().name
        'smollm2-135m'
    """

    source: str | Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    device: str = "auto"

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Returns the tokenizer; of a function, the model that it returns is made, too."""
        if isinstance(self.source, str):
            return load_tokenizer(self.source, **_of_tokenizers(self.options))
        return self.load().tokenizer

    def load(self) -> LanguageModel:
        """Returns the model, in evaluation mode.

        Raises:
            TypeError: if the function returns something else.
            ValueError: if nothing of that name can be loaded.
        """
        if isinstance(self.source, str):
            lm = load(self.source, **self.options)
        else:
            made = self.source()
            if isinstance(made, tuple) and len(made) == 2:
                made = wrap(*made)
            if not isinstance(made, LanguageModel):
                raise TypeError(
                    f"source: it returned a {type(made).__name__}, accepts functions that return "
                    "a LanguageModel, or a model and its tokenizer"
                )
            lm = made
        for adapter in self.adapters:
            lm.model.load_adapter(adapter)
        if self.adapters:
            name = " + ".join([lm.name, *self.adapters])
            lm = wrap(lm.model, lm.tokenizer, name=name)
        lm.model.eval()
        if "device_map" not in self.options and "quantization_config" not in self.options:
            chosen = self.device
            if chosen == "auto":
                chosen = "cuda" if torch.cuda.is_available() else str(lm.device)
            lm.model.to(chosen)
        return lm


@dataclass(frozen=True)
class LoadedModel:
    r"""A model that is there already, in the place of a :class:`ModelRecipe`."""

    lm: LanguageModel

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Returns its tokenizer."""
        return self.lm.tokenizer

    def load(self) -> LanguageModel:
        """Returns it."""
        return self.lm


def _of_tokenizers(options: Mapping[str, Any]) -> dict[str, Any]:
    shared = ("trust_remote_code", "revision", "token", "cache_dir", "local_files_only")
    return {name: options[name] for name in (*shared, "subfolder") if name in options}


def fingerprint(lm: LanguageModel) -> dict[str, str]:
    r"""Returns what must be the same of all models that write into one folder.

    Versions, and digests of the config, the anatomy, the tokenizer and a sample of each weight.
    """
    versions = {
        name: importlib.metadata.version(name) for name in ("ecco-captum", "torch", "transformers")
    }
    config = {
        key: value for key, value in lm.model.config.to_dict().items() if not key.startswith("_")
    }
    weights = hashlib.sha256()
    for name, parameter in sorted(lm.model.named_parameters()):
        if parameter.is_meta:  # offloaded: it is elsewhere until it is needed
            continue
        flat = parameter.detach().flatten()
        step = max(1, flat.numel() // _SAMPLED)
        numbers = flat[::step].to(torch.float32 if flat.is_floating_point() else torch.int64)
        weights.update(name.encode() + numbers.cpu().numpy().tobytes())
    return {
        **versions,
        "model": type(lm.model).__name__,
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "device": lm.device.type,
        "config": _digest(config),
        "anatomy": _digest(asdict(lm.anatomy)),
        "tokenizer": _digest(sorted(lm.tokenizer.get_vocab().items())),
        "weights": weights.hexdigest()[:16],
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(text).hexdigest()[:16]
