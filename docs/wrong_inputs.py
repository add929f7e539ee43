r"""Runs every command with wrong inputs of each kind, and writes what it says to a page.

python docs/wrong_inputs.py
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

PAGE = Path(__file__).with_name("wrong_inputs.md")

FILES = {
    "prompt.txt": "The capital of France is\n",
    "empty.txt": "",
    "broken.jsonl": '{"prompt": "Paris is in"}\n{"prompt": \n',
    "no_prompt.jsonl": '{"text": "Paris is in"}\n',
    "prompts.jsonl": '{"id": "a", "prompt": "Paris is in"}\n{"id": "b", "prompt": "word WORDS"}\n',
    "table.csv": "title,body\na,b\n",
    "no_record.npz": "no record",
    "treebank.conllu": "no treebank\n",
}
"""What the commands find where they run."""

_TEXT = ("--prompt", "Paris is in")
_ANY = {
    "a model that is nowhere": ("--model", "./none"),
    "no hub in reach": ("--model", "some/model"),
    "a format that nothing has": ("-o", "a.gif"),
    "a folder that is not there": ("-o", "none/a.html"),
    "an option that it lacks": ("--none",),
}
_PROMPT = {
    "no text": (),
    "two texts": ("--prompt", "a", "--prompt-file", "prompt.txt"),
    "a file that is not there": ("--prompt-file", "none.txt"),
}
_OUTPUTS = {
    "a number that is none": (*_TEXT, "--max-new-tokens", "many"),
    "a number that is too small": (*_TEXT, "--max-new-tokens", "0"),
}
_METHOD = {
    "a method that is misspelt": (*_TEXT, "--method", "atn_lrp"),
    "a method that it has not": (*_TEXT, "--method", "magic"),
    "a score that it has not": (*_TEXT, "--score", "loss"),
}
_LAYERS = {"layers that are no slice": (*_TEXT, "--layers", "1:2:3")}
_MANY = {
    "many prompts, a broken line": ("--prompts-file", "broken.jsonl"),
    "many prompts, none": ("--prompts-file", "empty.txt"),
    "many prompts, a row without one": ("--prompts-file", "no_prompt.jsonl"),
    "many prompts and a page": ("--prompts-file", "prompts.jsonl", "-o", "a.html"),
}
_PROMPTS = ("--prompts-file", "prompts.jsonl")
_TEXTS = {
    "many prompts": _PROMPTS,
    "no text": (),
    "an empty file": ("--text-file", "empty.txt"),
    "a table without texts": ("--text-file", "table.csv"),
    "a file that is not there": ("--text-file", "none.txt"),
}


def _with(words: tuple[str, ...], cases: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {kind: (*words, *more) for kind, more in cases.items()}


_PLAIN = {**_PROMPT, **_with(_TEXT, _ANY)}
_A_TEXT = ("--text", "Paris is in")
_STATES = {
    **_TEXTS,
    **_with(_A_TEXT, _ANY),
    "a page that it has not": (*_A_TEXT, "-o", "a.html"),
    "layers that are no slice": (*_A_TEXT, "--layers", "x"),
}

_CORPUS = ("--input", "prompt.txt")

CASES: dict[str, dict[str, tuple[str, ...]]] = {
    "demo": {k: v for k, v in _ANY.items() if v[0] != "--model"},
    "models": {"an option that it lacks": ("--none",)},
    "report": {
        **_PLAIN,
        **_OUTPUTS,
        "a method that is misspelt": (*_TEXT, "--method", "atn_lrp"),
        "a label that the treebank lacks": (*_TEXT, "--label", "pos"),
        "a treebank that is none": (*_TEXT, "--conllu", "treebank.conllu"),
        "a figure that it has not": (*_TEXT, "-o", "a.png"),
        "many prompts": _PROMPTS,
    },
    "generate": {**_PLAIN, **_OUTPUTS, **_MANY},
    "saliency": {
        **_PLAIN,
        **_OUTPUTS,
        **_METHOD,
        **_MANY,
        "an aggregation that it has not": (*_TEXT, "--aggregate", "mean"),
        "a foil of several tokens": (*_TEXT, "--max-new-tokens", "1", "--versus", " two words"),
        "a prompt that fails": ("--prompts-file", "prompts.jsonl", "--versus", " two words"),
        "a page that is not written": (*_TEXT, "-o", "a.npz", "--open"),
    },
    "faithfulness": {
        **_PLAIN,
        **_METHOD,
        **_MANY,
        "a removal that it has not": (*_TEXT, "--max-new-tokens", "1", "--removal", "burn"),
    },
    "compare-methods": {**_PLAIN, **_OUTPUTS, **_METHOD, **_MANY},
    "rankings": {
        **_PLAIN,
        **_OUTPUTS,
        **_LAYERS,
        **_MANY,
        "layers that it has not": (*_TEXT, "--max-new-tokens", "1", "--layers", "99"),
        "a lens that is not there": (*_TEXT, "--max-new-tokens", "1", "--lens", "none"),
        "a value that it has not": (*_TEXT, "--value", "norm"),
    },
    "watch": {
        **_PLAIN,
        **_LAYERS,
        "nothing to watch": _TEXT,
        "a word of several tokens": (*_TEXT, " two words"),
        "a place that is not there": (*_TEXT, " the", "--position", "99"),
        **_with((" the",), _MANY),
    },
    "layer-predictions": {
        **_PLAIN,
        **_LAYERS,
        "a place that is not there": (*_TEXT, "--max-new-tokens", "1", "--position", "99"),
        "no tokens": (*_TEXT, "--max-new-tokens", "1", "-k", "0"),
        **_MANY,
    },
    "minimal-pairs": {
        **_TEXTS,
        **_with(("--text", "The keys ___", "are", "is"), _ANY),
        "no fillers": ("--text", "The keys ___"),
        "one filler": ("--text", "The keys ___", "are"),
        "a text without a blank": ("--text", "The keys", "are", "is"),
        "a filler of several tokens": ("--text", "The keys ___", "are", "is not"),
    },
    "order-test": {
        **_PLAIN,
        "a text that is too short": ("--prompt", "Paris"),
        "no draws": (*_TEXT, "--draws", "0"),
        "one word": (*_TEXT, " the"),
        **_MANY,
    },
    "neurons": {**_STATES, "layers that it has not": (*_A_TEXT, "--layers", "99")},
    "hidden-states": {**_STATES, "a type that it has not": (*_A_TEXT, "--values", "int8")},
    "factors": {
        **_PLAIN,
        **_LAYERS,
        "no factors": (*_TEXT, "--components", "0"),
        "a factor that is not there": (*_TEXT, "--components", "1", "--effect", "7"),
        "many prompts": _PROMPTS,
    },
    "similarity": {
        **_TEXTS,
        **_with(_A_TEXT, _ANY),
        "a measure that it has not": (*_A_TEXT, "--measure", "cosine"),
        "too few texts": (*_A_TEXT, "--bootstrap", "5"),
    },
    "compare": {
        "nothing": (),
        "what is not there": ("none.npz",),
        "what is no record": ("no_record.npz",),
    },
    "probe": {
        "no treebank": (),
        "a treebank that is not there": ("--conllu", "none.conllu"),
        "a treebank that is none": ("--conllu", "treebank.conllu"),
    },
    "show": {
        "nothing": (),
        "what is not there": ("none.npz",),
        "what is no record": ("no_record.npz",),
    },
    "capture": {
        "a model that is nowhere": ("--model", "./none", *_CORPUS, "--neurons", "all"),
        "nothing to capture": _CORPUS,
        "no texts": ("--neurons", "all"),
        "a file that is not there": ("--input", "none.jsonl", "--neurons", "all"),
        "a pattern that nothing fits": ("--input", "none/*.txt", "--neurons", "all"),
        "a column that is not there": (
            *("--input", "table.csv", "--text-column", "words", "--neurons", "all"),
        ),
        "layers that are no slice": (*_CORPUS, "--neurons", "1:2:3"),
        "layers that it has not": (*_CORPUS, "--neurons", "99"),
        "an engine that it has not": (*_CORPUS, "--neurons", "all", "--engine", "spark"),
        "no workers": (*_CORPUS, "--neurons", "all", "--engine", "ray", "--workers", "0"),
        "a folder that holds something else": (*_CORPUS, "--neurons", "all", "--store", "."),
    },
    "map": {
        "no analysis": _CORPUS,
        "an analysis that it has not": ("magic", *_CORPUS),
        "a function that is not there": ("os:magic", *_CORPUS),
        "no texts": ("rankings",),
    },
    "nmf": {
        "nothing": (),
        "what is not there": ("none",),
        "what is no folder": ("no_record.npz",),
    },
}
"""For each command, wrong inputs by their kind."""


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """A folder with the files, where no hub is in reach and help is 100 characters wide."""
    import ecco_captum

    once = functools.cache(ecco_captum.load)  # a model for all commands
    surroundings = {"HF_HUB_OFFLINE": "1", "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    here = Path.cwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, surroundings),
        mock.patch.object(ecco_captum, "load", once),
    ):
        os.chdir(folder)
        try:
            for name, text in FILES.items():
                Path(name).write_text(text, encoding="utf-8")
            yield
        finally:
            os.chdir(here)


def said(command: str, words: tuple[str, ...]) -> tuple[int, str]:
    r"""Runs a command in this process.

    Args:
        command (str): its name.
        words (tuple of str): the words after it.

    Returns:
        tuple: the exit code, and what was printed on both outputs.
    """
    from ecco_captum import cli

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = cli.main([command, *words])
    text = printed.getvalue().replace(str(Path.cwd()), "FOLDER")
    lines = (line.rstrip() for line in text.splitlines())
    return code, "\n".join(line for line in lines if line)


def block(command: str, words: tuple[str, ...]) -> str:
    """What was typed, what was said, and the exit code."""
    code, text = said(command, words)
    line = shlex.join(["ecco-captum", command, *words])
    return f"```text\n$ {line}\n{text}\n[{code}]\n```"


def transcript() -> Iterator[str]:
    """The page, command by command."""
    yield "# What the command says of wrong inputs\n"
    yield (
        "Every command with wrong inputs of each kind, as `python docs/wrong_inputs.py` ran them, "
        "where no model hub is in reach. The number in brackets is the exit code: 1, it could not "
        "be done; 2, wrong usage; 3, some prompts failed.\n"
    )
    with elsewhere():
        yield "The files that are there:\n"
        listed = (f"{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in FILES.items())
        yield "```text\n" + "\n".join(listed) + "\n```\n"
        for command, cases in CASES.items():
            yield f"## `{command}`\n"
            for kind, words in cases.items():
                yield f"{kind[0].upper()}{kind[1:]}:\n\n{block(command, words)}\n"


if __name__ == "__main__":
    PAGE.write_text("\n".join(transcript()), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
