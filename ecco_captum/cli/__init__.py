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
from ecco_captum.cli.commands import (
    DEMO_MODEL,
    add_factors_options,
    add_probe_options,
    add_rankings_options,
    add_report_options,
    add_saliency_options,
    add_similarity_options,
    add_watch_options,
    factors,
    models,
    probe,
    rankings,
    report,
    saliency,
    similarity,
    watch,
)

DEMO_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."
DEMO_REPORT = "ecco-captum-demo.html"

_DESCRIPTION = """\
Look inside a language model: which earlier tokens each generated token came from, in which layer
it was decided, which neurons fired together, how alike layers are and what they know.

examples:
  ecco-captum demo
  ecco-captum models
  ecco-captum report --model smollm2-135m --prompt "The capital of France is" -o report.html
  ecco-captum saliency --model smollm2-135m --prompt "The capital of France is" -o saliency.html
  ecco-captum saliency --model gpt2 --prompt-file prompt.txt --max-new-tokens 40 -o saliency.html
  ecco-captum rankings --prompt "The capital of France is" -o rankings.html
  ecco-captum watch --prompt "The keys to the cabinet" " is" " are"
  ecco-captum factors --prompt-file text.txt --components 10 -o factors.html
  ecco-captum similarity --model minilm-l6 --text-file lines.txt -o similarity.html
  ecco-captum probe --model minilm-l6 --conllu en_ewt-ud-dev.conllu -o probes.html
"""

_DEFAULTS: dict[str, Any] = {
    "continuation": None,
    "method": "input_x_gradient",
    "components": 6,
    "conllu": None,
    "label": "upos",
    "seed": None,
    "dtype": None,
    "save": None,
    "trust_remote_code": False,
}

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
        "demo", parents=[shared], help="every analysis of a small real model's text, as a report"
    )
    demo.add_argument("-o", "--output", type=Path, default=Path(DEMO_REPORT), metavar="FILE")
    demo.set_defaults(
        run=report,
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


_ANALYSES: tuple[tuple[Any, str, Any, str, str], ...] = (
    (
        report,
        "report",
        add_report_options,
        "every analysis of one text on one page, each with its test",
        "Generate text and make every analysis of it, each with what could show it wrong.",
    ),
    (
        saliency,
        "saliency",
        add_saliency_options,
        "generate, and show where each token came from",
        "Generate text and attribute every generated token to the tokens before it.",
    ),
    (
        rankings,
        "rankings",
        add_rankings_options,
        "generate, and show in which layer each token was decided",
        "Generate text and rank every generated token by each layer's hidden state.",
    ),
    (
        watch,
        "watch",
        add_watch_options,
        "show which of several tokens each layer prefers next",
        "Rank several tokens for one place by each layer's hidden state.",
    ),
    (
        factors,
        "factors",
        add_factors_options,
        "show which neurons fire together over a text",
        "Factorise the feed-forward neurons' activations over a text, which is not continued.",
    ),
    (
        similarity,
        "similarity",
        add_similarity_options,
        "show how alike the layers of a model, or of two, are",
        "Compare layers over texts, each value beside what shuffled tokens give.",
    ),
    (
        probe,
        "probe",
        add_probe_options,
        "show what linear probes tell from each layer",
        "Train linear probes of a treebank's labels on each layer, beside control tasks.",
    ),
)
