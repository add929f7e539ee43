r"""LanguageModel: an untouched Hugging Face model, its tokenizer and its anatomy."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn

from ecco_captum.core.checks import UnsupportedError, check_vocabulary
from ecco_captum.models.anatomy.find import find_anatomy
from ecco_captum.models.anatomy.parts import Anatomy
from ecco_captum.models.anatomy.verify import input_device
from ecco_captum.models.bundled import is_offline_name, offline_models, offline_path
from ecco_captum.models.checkpoint import check_reachable, is_cached_only
from ecco_captum.models.embedding_site import EmbeddingSite, embed, embedding_sites, entering
from ecco_captum.models.modes import evaluation_mode, exclusive
from ecco_captum.models.positions import position_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class LanguageModel:
    r"""A Hugging Face model as it is, with its tokenizer and its anatomy.

    Made by :func:`load` or :func:`wrap`. Nothing is attached to the model: analyses wrap what they
    need while they run, and put it back.

    Args:
        model (PreTrainedModel): the model.
        tokenizer (PreTrainedTokenizerBase): its tokenizer.
        name (str): what it is called in titles.
        given_anatomy (Anatomy, optional): an anatomy to use instead of the one that is found by
            watching the model run.

    Examples::

        >>> lm.name, lm.vocabulary_size, lm.context_length
        ('smollm2-135m', 49152, 8192)
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    given_anatomy: Anatomy | None = field(default=None, repr=False)

    @property
    def anatomy(self) -> Anatomy:
        """Where the model keeps its parts; found at first use and then kept for the model."""
        if self.given_anatomy is not None:
            return self.given_anatomy
        with exclusive(self.model):  # it is watched, with hooks, as it runs
            return find_anatomy(self.model)

    @property
    def device(self) -> torch.device:
        """The device that token ids go to."""
        return input_device(self.model)

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(getattr(self.model.config, "is_encoder_decoder", False))

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding: ids from 0 up to this are accepted."""
        table = getattr(self.model.get_input_embeddings(), "weight", None)
        return int(self.model.config.vocab_size if table is None else table.shape[0])

    @property
    def context_length(self) -> int | None:
        """The most tokens of a text (an encoder–decoder's source); None where nothing limits it.

        It is what the model's tables of positions hold; where positions are computed, what the
        model was made for.
        """
        return position_limit(self.model)

    def embedding_sites(self, started: int = 0) -> tuple[EmbeddingSite, ...]:
        """Where embeddings enter; ``started`` tokens of a decoder's start are left as they are."""
        return embedding_sites(self.model, self.anatomy, started)

    def embeddings(self, input_ids: Tensor, decoder_input_ids: Tensor | None = None) -> Tensor:
        r"""Returns what the embedding modules give for ids; the model runs only that far.

        Args:
            input_ids (Tensor): (batch, positions).
            decoder_input_ids (Tensor, optional): (batch, decoder's positions), for an
                encoder–decoder.

        Returns:
            Tensor: (batch, positions, embedding), without a graph; the decoder's positions follow
            the source's.
        """
        inputs = _inputs(input_ids, decoder_input_ids)
        with evaluation_mode(self.model):
            return embed(self.model, self.embedding_sites(), inputs, use_cache=False)

    def forward_from_embeddings(
        self,
        embeddings: Tensor,
        input_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the model on embeddings: a plain function for Captum's own classes.

        The embeddings take the place of the embedding module's output, so layers below and above it
        run as ever, and every module that :attr:`anatomy` names can be hooked.

        Args:
            embeddings (Tensor): (batch, positions, embedding), as :meth:`embeddings` gives them.
            input_ids (Tensor, optional): (1 or batch, positions). Most models read nothing off them
                but the embeddings; for the few that do, and for encoder–decoders, pass the ids as
                ``additional_forward_args``.
            decoder_input_ids (Tensor, optional): (1 or batch, decoder's positions).

        Returns:
            Tensor: (batch, vocabulary), the logits of the token that follows, so that ``target`` is
            a token id; of a classifier (batch, classes); of a masked language model
            (batch, positions, vocabulary), so that ``target`` is a pair (position, token id).

        Examples::

            >>> from captum.attr import InputXGradient
            >>> x = lm.embeddings(torch.tensor(generation.prompt_ids[None])).requires_grad_()
            >>> explainer = InputXGradient(lm.forward_from_embeddings)
            >>> explainer.attribute(x, target=int(generation.output_ids[0])).shape
            torch.Size([1, 5, 576])
        """
        if input_ids is None:
            if self.is_encoder_decoder:
                raise ValueError("input_ids: an encoder–decoder needs the ids of both of its texts")
            # Padding would be given no attention, or no position of its own.
            ordinary = (
                1 if getattr(self.model.config.get_text_config(), "pad_token_id", None) == 0 else 0
            )
            input_ids = torch.full(embeddings.shape[:2], ordinary, device=self.device)
        if torch.is_grad_enabled() and embeddings.requires_grad:
            self.anatomy.require("gradient")
        inputs = _inputs(input_ids, decoder_input_ids)
        inputs = {name: ids.expand(len(embeddings), -1) for name, ids in inputs.items()}
        writes = self.model.can_generate()
        with entering(self.model, self.embedding_sites(), inputs, embeddings):
            last = keep_last(self, 1) if writes else {}
            logits: Tensor = self.model(**inputs, use_cache=False, **last).logits
        return logits[:, -1] if writes else logits

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.model.parameters())
        kind = type(self.model).__name__
        return f"LanguageModel({self.name!r}, {kind}, {size / 1e6:.0f}M parameters)"


def load(
    name: str | os.PathLike[str], *, trust_remote_code: bool = False, **kwargs: Any
) -> LanguageModel:
    r"""Loads a model and its tokenizer.

    Args:
        name (str or PathLike): a hub id (``"gpt2"``), a local directory that ``save_pretrained``
            wrote, a ``.gguf`` file, or the name of an offline model (see :func:`offline_models`).
        trust_remote_code (bool, optional): whether code that comes with the checkpoint may run.
        **kwargs (Any): passed to ``from_pretrained``: dtype, device_map, revision,
            attn_implementation and the others.

    Returns:
        LanguageModel: the model in evaluation mode, in the class that its checkpoint names.

    Raises:
        ValueError: if nothing of that name can be loaded, or the checkpoint lacks weights that the
            model needs (they would be random, and so would be every number read off them).

    Examples::

        >>> load("minilm-l6")
        LanguageModel('minilm-l6', BertModel, 23M parameters)
        >>> lm = load("gpt2", dtype="bfloat16")  # doctest: +SKIP
    """
    shown = os.fspath(name)
    source, shared = _source(shown, trust_remote_code, kwargs)
    try:
        config = transformers.AutoConfig.from_pretrained(**source, **shared)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source, **shared)
        model, info = _model_class(config).from_pretrained(
            **source, **kwargs, trust_remote_code=trust_remote_code, output_loading_info=True
        )
    except Exception as error:  # damaged files fail in as many ways as there are formats
        raise ValueError(_load_failure(shown, error)) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"name: the checkpoint {shown!r} lacks {len(missing)} weights of "
            f"{type(model).__name__}, such as {missing[0]}; they would be random. "
            "If that is what you want, build the model yourself and pass it to wrap()."
        )
    return wrap(model.eval(), tokenizer, name=_shown(shown))


def load_tokenizer(
    name: str | os.PathLike[str], *, trust_remote_code: bool = False, **kwargs: Any
) -> PreTrainedTokenizerBase:
    r"""Loads the tokenizer of a model alone; arguments and errors are those of :func:`load`."""
    shown = os.fspath(name)
    source, shared = _source(shown, trust_remote_code, kwargs)
    try:
        tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
            **source, **shared
        )
    except Exception as error:  # as above
        raise ValueError(_load_failure(shown, error)) from error
    return tokenizer


def _source(
    shown: str, trust_remote_code: bool, kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where a checkpoint is, and what config, tokenizer and model are all told of it."""
    elsewhere = {"cache_dir", "token", "local_files_only"} & set(kwargs)
    if not elsewhere:  # places and rights of its own are transformers' business
        check_reachable(shown)
        if is_cached_only(shown):  # transformers would ask for half a minute
            kwargs["local_files_only"] = True
    source: dict[str, Any] = {"pretrained_model_name_or_path": shown}
    if is_offline_name(shown):
        source["pretrained_model_name_or_path"] = str(offline_path(shown))
    elif shown.endswith(".gguf"):
        source = _gguf_source(Path(shown))
    shared = {"trust_remote_code": trust_remote_code}
    for key in ("revision", "token", "cache_dir", "local_files_only", "subfolder"):
        if key in kwargs:
            shared[key] = kwargs[key]
    return source, shared


def wrap(
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    name: str | None = None,
    anatomy: Anatomy | None = None,
) -> LanguageModel:
    r"""Takes a model that you already have, and leaves it exactly as it is.

    While an analysis of it runs, do not call the model from another thread: that call would go
    through what the analysis puts on its modules. Analyses in several threads wait for each other.

    Args:
        model (PreTrainedModel): any Hugging Face model that reads text: on any device, in any mode.
            What holds one gives it: a pipeline (and its tokenizer), PEFT's model of adapters,
            ``torch.compile``'s and ``DataParallel``'s.
        tokenizer (PreTrainedTokenizerBase, optional): the tokenizer that belongs to it; needed,
            save for a pipeline.
        name (str, optional): what to call it in titles. Default: what its config says.
        anatomy (Anatomy, optional): where it keeps its parts, if you know better than what watching
            it run would find.

    Returns:
        LanguageModel: the model, wrapped.

    Raises:
        TypeError: if ``model`` is no ``PreTrainedModel`` or ``tokenizer`` no tokenizer.
        ValueError: if the tokenizer makes ids that the model has no embedding for.
        UnsupportedError: if the model reads something else than text, or its PEFT adapter is none
            that lies within it.

    Examples::

        >>> wrap(lm.model, lm.tokenizer, name="mine")
        LanguageModel('mine', LlamaForCausalLM, 135M parameters)
    """
    if not isinstance(model, nn.Module) and hasattr(model, "model") and hasattr(model, "tokenizer"):
        model, tokenizer = model.model, tokenizer or model.tokenizer  # a pipeline
    model = _innermost(model)
    if not isinstance(model, transformers.PreTrainedModel):
        raise TypeError(f"model: got {_kind(model)}, accepts a transformers PreTrainedModel")
    reads_ids = "input_ids" in inspect.signature(model.forward).parameters
    if model.main_input_name not in ("input_ids", "inputs") or not reads_ids:
        raise UnsupportedError(
            f"model: a {type(model).__name__} reads {model.main_input_name}, accepts models that "
            "read the ids of a text (input_ids)"
        )
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        raise TypeError(f"tokenizer: got {_kind(tokenizer)}, accepts a transformers tokenizer")
    if anatomy is not None and not isinstance(anatomy, Anatomy):
        raise TypeError(f"anatomy: got {_kind(anatomy)}, accepts an Anatomy or None")
    name = name or _shown(getattr(model.config, "name_or_path", "") or type(model).__name__)
    lm = LanguageModel(model, tokenizer, name, anatomy)
    check_vocabulary(len(tokenizer), lm.vocabulary_size)
    return lm


def _innermost(model: Any) -> Any:
    """The transformers model within what other libraries put around it."""
    while True:
        inner = model
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        elif isinstance(model, nn.Module) and "_orig_mod" in model._modules:
            inner = model._orig_mod  # what torch.compile returns
        elif hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            _check_adapters(model)
            inner = model.get_base_model()
        if inner is model:
            return model
        model = inner


def _check_adapters(model: Any) -> None:
    """Raises an error if a PEFT model is more than the model within it."""
    for name in model.active_adapters:
        config = model.peft_config[name]
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        outside = config.is_prompt_learning or kind == "XLORA"
        if outside or getattr(config, "alora_invocation_tokens", None):
            raise UnsupportedError(
                f"model: its adapter {name!r} ({kind}) works around the model, by vectors before "
                "the text or by the text's tokens; accepts adapters within it, as LoRA and IA³"
            )


def keep_last(lm: LanguageModel, positions: int) -> dict[str, int]:
    r"""Returns the argument that makes the model compute its last logits only, where it has one."""
    accepted = inspect.signature(lm.model.forward).parameters
    return {"logits_to_keep": positions} if "logits_to_keep" in accepted else {}


def _inputs(input_ids: Tensor, decoder_input_ids: Tensor | None) -> dict[str, Tensor]:
    inputs = {"input_ids": input_ids}
    if decoder_input_ids is not None:
        inputs["decoder_input_ids"] = decoder_input_ids
    return inputs


def _model_class(config: Any) -> Any:
    """The class that the checkpoint names; else the head that fits its kind of model."""
    for architecture in getattr(config, "architectures", None) or ():
        kind = getattr(transformers, architecture, None)
        if kind is not None:
            return kind
    if getattr(config, "is_encoder_decoder", False):
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def _shown(name: str) -> str:
    """Names of models stay; of paths, the last part says enough in a title."""
    path = Path(name)
    if path.is_file():
        return path.stem
    return path.name if path.is_dir() and path.name else name


def _gguf_source(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"name: there is no file {str(path)!r}")
    return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


def _load_failure(name: str, error: Exception) -> str:
    offline = ", ".join(model.name for model in offline_models())
    reason = " ".join(str(error).split())
    return (
        f"name: {name!r} could not be loaded. Accepted: a hub id (needs the network once), a local "
        f"directory with a config.json, a .gguf file, or an offline model ({offline}). "
        f"transformers says: {reason[:300]}"
    )


def _kind(value: Any) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}"
