r"""The records that say where a model keeps its parts: module paths and plain numbers only.

They can be saved, compared, and written by hand for a model that ``find_anatomy`` does not
understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ecco_captum.core.checks import UnsupportedError

Part = Literal["gradient", "blocks", "lens", "neurons"]


class AnatomyError(UnsupportedError):
    r"""A model has no such part, or it could not be found."""


@dataclass(frozen=True)
class Site:
    r"""One execution of one module during a forward.

    Args:
        module (str): the module's dotted path, as ``model.get_submodule`` takes it.
        call (int): which of its executions, counted from 0.
    """

    module: str
    call: int = 0


@dataclass(frozen=True)
class Embedding(Site):
    r"""The module that looks the token ids up; gradients enter through its output.

    Of one with adapters, it is the module that holds them, too.

    Args:
        axes (tuple[int, ...]): the permutation that makes its output (batch, positions, width).
        offset (int): how many positions the model puts before the text's first.
        beside (tuple[str, ...]): other modules that look the same ids up, whose output goes into
            the model by another way, such as embeddings for each block.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    offset: int = 0
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class NeuronSite(Site):
    r"""A down-projection; its input are a feed-forward layer's neurons after the non-linearity.

    Of one with adapters, it is the module that holds them, too, if they read the neurons.

    Args:
        width (int): how many neurons there are.
        axes (tuple[int, ...]): the permutation that makes its input (batch, positions, width), or
            (tokens, width) where the model flattens batch and positions.
    """

    width: int = 0
    axes: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class Block(Site):
    r"""One block: the module whose output is the residual stream after it.

    Args:
        neurons (tuple[NeuronSite, ...]): its down-projections in the order in which they run;
            several in some models, such as one with adapters.
        lacks (str): which neurons are out of reach and why; empty if none are.
        returns (int, optional): 0 if it returns a lone tensor, n for a tuple of n values with the
            stream first. Such a block can be skipped when only the model's tail is wanted; None
            means that it has to run.
    """

    neurons: tuple[NeuronSite, ...] = ()
    lacks: str = ""
    returns: int | None = None


@dataclass(frozen=True)
class Stack:
    r"""Blocks that run one after the other on one residual stream.

    Args:
        embedding (Embedding, optional): what looks this stack's ids up.
        entry (Site, optional): the module whose input is the stream before the first block.
        blocks (tuple[Block, ...]): in the order in which they run. A module that runs several times
            makes several blocks.
        width (int): the stream's width.
        axes (tuple[int, ...]): the permutation that makes the stream (batch, positions, width). In
            a model with several streams their axis stands before the width. Positions may follow
            those of the text, such as padding.
    """

    embedding: Embedding | None
    entry: Site | None = None
    blocks: tuple[Block, ...] = ()
    width: int = 0
    axes: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class Anatomy:
    r"""Where one model keeps its parts.

    Args:
        architecture (str): the model's class, for messages.
        stack (Stack): the blocks whose last output becomes the logits.
        encoder (Stack, optional): the blocks that those attend to, in an encoder-decoder model.
        head (Site, optional): the unembedding, whose output is as wide as the vocabulary.
        lacks (tuple[tuple[str, str], ...]): parts that cannot be used, each with the reason. Leave
            one out, with ``dataclasses.replace``, to use it all the same.

    Examples::

        >>> anatomy = lm.anatomy
        >>> anatomy.embedding.module, len(anatomy.blocks), anatomy.head.module
        ('model.embed_tokens', 30, 'lm_head')
        >>> anatomy.blocks[3].neurons[0].module
        'model.layers.3.mlp.down_proj'
    """

    architecture: str
    stack: Stack
    encoder: Stack | None = None
    head: Site | None = None
    lacks: tuple[tuple[Part, str], ...] = ()

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The encoder, if there is one, and the stack that becomes the logits."""
        return (self.stack,) if self.encoder is None else (self.encoder, self.stack)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks whose last output becomes the logits."""
        return self.stack.blocks

    @property
    def embedding(self) -> Embedding | None:
        """What looks ``input_ids`` up: the encoder's, in an encoder-decoder model."""
        return self.stacks[0].embedding

    def reason(self, part: Part) -> str:
        r"""Tells why a part cannot be used.

        Args:
            part (str): "gradient", "blocks", "lens" or "neurons".

        Returns:
            str: the reason, empty if the part can be used.

        Raises:
            ValueError: if there is no part of that name.
        """
        if part not in get_args(Part):
            raise ValueError(f"part: got {part!r}, accepts one of {', '.join(get_args(Part))}")
        lacks = dict(self.lacks)
        if part in lacks:
            return lacks[part]
        if part == "neurons" and not any(block.neurons for block in self.blocks):
            return next((block.lacks for block in self.blocks if block.lacks), "it has no blocks")
        return ""

    def require(self, part: Part) -> None:
        r"""Raises an error if a part cannot be used.

        Args:
            part (str): "gradient", "blocks", "lens" or "neurons".

        Raises:
            AnatomyError: if the model lacks it; the message says why and what can be done.
        """
        reason = self.reason(part)
        if reason:
            raise AnatomyError(
                f"{self.architecture} gives no {part}: {reason}. Use an analysis that does without "
                "it or, if you know where the model keeps it, pass an Anatomy of your own."
            )

    def to_dict(self) -> dict[str, Any]:
        r"""Turns the record into dictionaries, lists, strings and numbers, as JSON takes them.

        Returns:
            dict: one that :meth:`from_dict` reads.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Anatomy:
        r"""Reads a record that :meth:`to_dict` gave, also after a way through JSON.

        Args:
            data (Mapping): the dictionary.

        Returns:
            Anatomy: the record.
        """
        encoder = data.get("encoder")
        return cls(
            architecture=data["architecture"],
            stack=_stack(data["stack"]),
            encoder=None if encoder is None else _stack(encoder),
            head=None if data.get("head") is None else Site(**data["head"]),
            lacks=tuple((part, reason) for part, reason in data.get("lacks", ())),
        )


def _stack(data: Mapping[str, Any]) -> Stack:
    fields = dict(data)
    if fields.get("embedding") is not None:
        embedding = _with_axes(fields["embedding"])
        beside = tuple(embedding.get("beside", ()))
        fields["embedding"] = Embedding(**{**embedding, "beside": beside})
    if fields.get("entry") is not None:
        fields["entry"] = Site(**fields["entry"])
    fields["blocks"] = tuple(_block(block) for block in fields.get("blocks", ()))
    return Stack(**_with_axes(fields))


def _block(data: Mapping[str, Any]) -> Block:
    neurons = tuple(NeuronSite(**_with_axes(site)) for site in data.get("neurons", ()))
    return Block(**{**data, "neurons": neurons})


def _with_axes(data: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {**data, "axes": tuple(data.get("axes", (0, 1, 2)))}
