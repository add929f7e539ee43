r"""The command ``ecco-captum``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecco_captum._version import __version__
from ecco_captum.commands import factors, models, rankings, saliency, similarity, watch

DEMO_MODEL = "smollm2-135m"
DEMO_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."
DEMO_REPORT = "ecco-captum-demo.html"

_DESCRIPTION = """\
Look inside a language model: which earlier tokens each generated token came from, and in which
layer it was decided.

examples:
  ecco-captum demo
  ecco-captum models
  ecco-captum saliency --model smollm2-135m --prompt "The capital of France is" -o report.html
  ecco-captum saliency --model gpt2 --prompt-file prompt.txt --max-new-tokens 40 -o report.html
  ecco-captum rankings --prompt "The capital of France is" -o rankings.html
  ecco-captum watch --prompt "The keys to the cabinet" " is" " are"
  ecco-captum factors --prompt-file text.txt --components 10 -o factors.html
  ecco-captum similarity --model minilm-l6 --text-file lines.txt -o similarity.html
"""

_DEFAULTS: dict[str, Any] = {
    "continuation": None,
    "method": "input_x_gradient",
    "score": "logit",
    "versus": None,
    "aggregate": None,
    "outputs": None,
    "faithfulness": False,
    "seed": None,
    "dtype": None,
    "save": None,
    "trust_remote_code": False,
}

_MODEL = "hub id, local directory, .gguf file or offline name"
_REPORT = "the HTML report to write"
_FIGURE = "also write the figure (.pdf, .svg, .png)"
_EPILOG = "exit codes: 0 done, 1 it could not be done (one line says why), 2 wrong usage"


def main(arguments: Sequence[str] | None = None) -> int:
    r"""Runs the command.

    Args:
        arguments (Sequence of str, optional): the words after the command's name. Default: those of
            the process.

    Returns:
        int: the exit code: 0 done, 1 failed, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character must not stop the work.
        sys.stdout.reconfigure(errors="replace")
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("ecco-captum: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, RuntimeError, MemoryError) as error:
        if options.traceback:
            raise
        print(f"ecco-captum: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="ecco-captum", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=formatter
    )
    parser.add_argument("--version", action="version", version=f"ecco-captum {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--traceback", action="store_true", help="show Python's traceback on errors"
    )

    demo = commands.add_parser(
        "demo", parents=[shared], help="the main job on a small real model, as an HTML report"
    )
    demo.add_argument("-o", "--output", type=Path, default=Path(DEMO_REPORT), metavar="FILE")
    demo.set_defaults(
        run=saliency,
        model=DEMO_MODEL,
        prompt=DEMO_PROMPT,
        prompt_file=None,
        max_new_tokens=24,
        **_DEFAULTS,
    )

    listing = commands.add_parser(
        "models", parents=[shared], help="list the models that need no model hub"
    )
    listing.set_defaults(run=models)

    for run, name, add_options, short, long in _ANALYSES:
        command = commands.add_parser(
            name,
            parents=[shared],
            help=short,
            description=long,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        add_options(command)
        command.set_defaults(run=run)
    return parser


def _add_text_options(
    parser: argparse.ArgumentParser, *, model: str | None, writes: bool = True
) -> None:
    """What every analysis reads, and where its results go; without a default model, both named."""
    add = parser.add_argument
    add("--model", required=model is None, default=model, help=_MODEL)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="the prompt; '-' reads it from standard input")
    prompt.add_argument(
        "--prompt-file", type=Path, metavar="FILE", help="read the prompt from here"
    )
    add("-o", "--output", type=Path, required=model is None, metavar="FILE", help=_REPORT)
    if writes:
        add("--max-new-tokens", type=int, default=32, metavar="N", help="how many tokens to write")
        add("--continuation", metavar="TEXT", help="read this text instead of letting it write")
        add("--seed", type=int, help="sample with this seed instead of decoding greedily")
    _add_common_options(parser)


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    """How a model is loaded, and where the record goes."""
    add = parser.add_argument
    add("--dtype", help="load the weights as float32, bfloat16 or float16")
    add("--save", type=Path, metavar="FILE", help="also save the record (.npz), for load_record()")
    add("--trust-remote-code", action="store_true", help="let the checkpoint's own code run")


def _add_saliency_options(parser: argparse.ArgumentParser) -> None:
    _add_text_options(parser, model=None)
    add = parser.add_argument
    add("--method", default="input_x_gradient", help="the attribution method, such as ig, attn_lrp")
    add("--score", default="logit", help="what is explained: logit, logprob, prob or entropy")
    add("--versus", action="append", metavar="TOKEN", help="contrast with this; may be repeated")
    add("--aggregate", help="l2, sum, l1 or max_abs over the embedding (default: the method's own)")
    add("--outputs", type=_slice, metavar="START:END", help="explain these outputs only")
    add("--faithfulness", action="store_true", help="test it: remove the salient tokens")


def _add_lens_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--layers",
        type=_slice,
        metavar="START:END",
        help="0 is the embedding, 1 block 0; --layers=-3: the last 3",
    )
    add("--lens", type=Path, metavar="FOLDER", help="a tuned lens instead of the logit lens")
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


def _add_rankings_options(parser: argparse.ArgumentParser) -> None:
    _add_text_options(parser, model=DEMO_MODEL)
    _add_lens_options(parser)
    add = parser.add_argument
    add("--value", default="rank", choices=("rank", "logit", "prob"), help="what is shown")
    every = "outputs, or all: the prompt's tokens too"
    add("--positions", default="outputs", choices=("outputs", "all"), help=every)
    add("--no-control", dest="control", action="store_false", help="leave the shuffled model out")


def _add_watch_options(parser: argparse.ArgumentParser) -> None:
    _add_text_options(parser, model=DEMO_MODEL, writes=False)
    _add_lens_options(parser)
    add = parser.add_argument
    add("words", nargs="*", metavar="WORD", help="tokens to watch, with their leading space")
    add("--id", type=int, action="append", default=[], metavar="N", help="watch this token id")
    position = "what follows this token of the prompt; -1 is the last"
    add("--position", type=int, default=-1, metavar="N", help=position)


def _add_factors_options(parser: argparse.ArgumentParser) -> None:
    _add_text_options(parser, model=DEMO_MODEL, writes=False)
    add = parser.add_argument
    add("--components", type=int, default=8, metavar="N", help="how many factors")
    add("--layers", type=_slice, metavar="START:END", help="blocks, from 0 (default: all)")
    negatives = "of gated layers' negative activations"
    add("--negatives", default="split", choices=("clip", "split", "abs"), help=negatives)
    add("--stability", type=int, default=0, metavar="SEEDS", help="fit again from other starts")
    add("--effect", type=int, action="append", default=[], metavar="K", help="ablate factor K")
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


def _add_similarity_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default=DEMO_MODEL, help=_MODEL)
    add("--other-model", metavar="MODEL", help="compare with this one's layers, word by word")
    add("--text-file", type=Path, required=True, metavar="FILE", help="texts, one in each line")
    add("-o", "--output", type=Path, metavar="FILE", help=_REPORT)
    measures = ("cca", "svcca", "pwcca", "cka")
    add("--measure", default="cka", choices=measures, help="how layers are compared")
    kinds = ("hidden", "neurons", "both")
    add("--representations", default="hidden", choices=kinds, help="which states are compared")
    add("--layers", type=_slice, metavar="START:END", help="of these, from 0 (default: all)")
    add("--permutations", type=int, default=10, metavar="N", help="shufflings that make the null")
    add("--bootstrap", type=int, default=0, metavar="N", help="draws of texts, for an interval")
    add("--seed", type=int, default=0, help="of shufflings and draws")
    _add_common_options(parser)
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


_ANALYSES: tuple[tuple[Any, str, Any, str, str], ...] = (
    (
        saliency,
        "saliency",
        _add_saliency_options,
        "generate, and show where each token came from",
        "Generate text and attribute every generated token to the tokens before it.",
    ),
    (
        rankings,
        "rankings",
        _add_rankings_options,
        "generate, and show in which layer each token was decided",
        "Generate text and rank every generated token by each layer's hidden state.",
    ),
    (
        watch,
        "watch",
        _add_watch_options,
        "show which of several tokens each layer prefers next",
        "Rank several tokens for one place by each layer's hidden state.",
    ),
    (
        factors,
        "factors",
        _add_factors_options,
        "show which neurons fire together over a text",
        "Factorise the feed-forward neurons' activations over a text, which is not continued.",
    ),
    (
        similarity,
        "similarity",
        _add_similarity_options,
        "show how alike the layers of a model, or of two, are",
        "Compare layers over texts, each value beside what shuffled tokens give.",
    ),
)


def _slice(text: str) -> slice:
    """Outputs as Python's slices are written."""
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or (len(numbers) == 1 and numbers[0] is None):
        raise argparse.ArgumentTypeError(f"got {text!r}, accepts START:END or one number")
    if len(numbers) == 1:
        start = int(numbers[0] or 0)
        return slice(start, start + 1 if start != -1 else None)
    return slice(*numbers)
