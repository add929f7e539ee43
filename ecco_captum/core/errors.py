"""The one error that says: this model, or this text, cannot have that."""

from __future__ import annotations


class UnsupportedError(ValueError):
    r"""A model or a text cannot have what was asked for; the message says why.

    Raised on purpose only, so that it may be caught and shown as "skipped", as :func:`report` does.
    Errors in arguments are plain ``ValueError`` and ``TypeError``.

    Examples::

        >>> try:
        ...     saliency(encoder, generation)
        ... except ecco_captum.UnsupportedError as error:
        ...     print(str(error)[:36])
        lm: 'minilm-l6' is a BertModel, whose
    """


class SlowPathWarning(UserWarning):
    r"""A model cannot be run the quick way; the numbers are the same, the work takes longer."""
