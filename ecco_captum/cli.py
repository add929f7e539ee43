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

DEMO_MODEL = "smollm2-135m"
DEMO_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."
DEMO_REPORT = "ecco-captum-demo.html"

_DESCRIPTION = """\
Look inside a language model: which earlier tokens each generated token came from.

examples:
  ecco-captum demo
  ecco-captum models
  ecco-captum saliency --model smollm2-135m --prompt "The capital of France is" -o report.html
  ecco-captum saliency --model gpt2 --prompt-file prompt.txt --max-new-tokens 40 -o report.html
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
        run=_saliency,
        model=DEMO_MODEL,
        prompt=DEMO_PROMPT,
        prompt_file=None,
        max_new_tokens=24,
        **_DEFAULTS,
    )

    models = commands.add_parser(
        "models", parents=[shared], help="list the models that need no model hub"
    )
    models.set_defaults(run=_models)

    saliency = commands.add_parser(
        "saliency",
        parents=[shared],
        help="generate, and show where each token came from",
        description="Generate text and attribute every generated token to the tokens before it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_saliency_options(saliency)
    saliency.set_defaults(run=_saliency)
    return parser


def _add_saliency_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, help="hub id, local directory, .gguf file or offline name")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="the prompt; '-' reads it from standard input")
    prompt.add_argument(
        "--prompt-file", type=Path, metavar="FILE", help="read the prompt from here"
    )
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="the HTML report to write")
    add("--max-new-tokens", type=int, default=32, metavar="N", help="how many tokens to write")
    add("--continuation", metavar="TEXT", help="explain this text instead of letting it write")
    add("--method", default="input_x_gradient", help="the attribution method, such as ig, attn_lrp")
    add("--score", default="logit", help="what is explained: logit, logprob, prob or entropy")
    add("--versus", action="append", metavar="TOKEN", help="contrast with this; may be repeated")
    add("--aggregate", help="l2, sum, l1 or max_abs over the embedding (default: the method's own)")
    add("--outputs", type=_slice, metavar="START:END", help="explain these outputs only")
    add("--faithfulness", action="store_true", help="test it: remove the salient tokens")
    add("--seed", type=int, help="sample with this seed instead of decoding greedily")
    add("--dtype", help="load the weights as float32, bfloat16 or float16")
    add("--save", type=Path, metavar="FILE", help="also save the record (.npz), for load_record()")
    add("--trust-remote-code", action="store_true", help="let the checkpoint's own code run")


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


def _models(options: argparse.Namespace) -> int:
    from ecco_captum.offline import offline_models

    print(f"{'NAME':14}{'SIZE':>7}  {'LICENCE':12}{'HERE':6}MODEL")
    for model in offline_models():
        here = "yes" if model.cached else "no"
        print(f"{model.name:14}{model.megabytes:>4} MB  {model.licence:12}{here:6}{model.title}")
        print(f"{'':41}{model.kind}")
    print(
        "\nFetched once, at first use. Any model of the Hugging Face hub works as well, by its id."
    )
    return 0


def _saliency(options: argparse.Namespace) -> int:
    _check_paths(options)
    prompt = _prompt(options)

    from ecco_captum.attribution import saliency
    from ecco_captum.catalogue import find_method
    from ecco_captum.erasure import faithfulness
    from ecco_captum.models import load
    from ecco_captum.scores import as_score

    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()
    find_method(options.method), as_score(options.score)  # before the model is loaded
    kwargs = {} if options.dtype is None else {"dtype": options.dtype}
    lm = load(options.model, trust_remote_code=options.trust_remote_code, **kwargs)
    generation = _generation(lm, prompt, options)
    chosen = ("method", "score", "versus", "aggregate", "outputs")
    attribution = saliency(lm, generation, **{name: getattr(options, name) for name in chosen})
    tested = faithfulness(lm, attribution) if options.faithfulness else None
    attribution.to_html(options.output, faithfulness=tested)
    if options.save is not None:
        attribution.save(options.save)
    _summarise(attribution)
    if tested is not None:
        print(f"\n{tested}")
    print(f"\nReport: {options.output.absolute()}")
    return 0


def _generation(lm: Any, prompt: str, options: argparse.Namespace) -> Any:
    """What the model writes, fills in, or calls the prompt; or the continuation given."""
    from ecco_captum.generation import force_decode, generate

    if options.continuation is not None:
        return force_decode(lm, prompt, options.continuation)
    if not lm.model.can_generate():
        return generate(lm, prompt)
    sampling = {} if options.seed is None else {"do_sample": True, "seed": options.seed}
    return generate(lm, prompt, max_new_tokens=options.max_new_tokens, **sampling)


def _check_paths(options: argparse.Namespace) -> None:
    """Before anything is computed that could then not be written."""
    for name in ("output", "save"):
        path = getattr(options, name)
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"--{name}: there is no folder {str(path.absolute().parent)!r}")
        if path.is_dir():
            raise IsADirectoryError(f"--{name}: {str(path)!r} is a folder, accepts a file")
    if options.save is not None and options.save.absolute() == options.output.absolute():
        raise ValueError(f"--save: {str(options.save)!r} is where --output goes; name another file")


def _prompt(options: argparse.Namespace) -> str:
    if options.prompt_file is not None:
        return str(options.prompt_file.read_text(encoding="utf-8"))
    return sys.stdin.read() if options.prompt == "-" else str(options.prompt)


def _summarise(attribution: Any) -> None:
    """A terminal's view: each explained output with its strongest sources."""
    generation, shares = attribution.generation, attribution.shares
    start = generation.tokens.prompt_length
    print(f"{attribution.subtitle}\n")
    print(f"{generation.prompt}[{generation.text}]\n")
    print(f"{'GENERATED':>16}  {'LOGIT':>6} {'RANK':>5}  STRONGEST SOURCES")
    for output, share in zip(attribution.outputs, shares, strict=True):
        sources = "   ".join(
            f"{_shown(generation.tokens.texts[i])} {share[i]:.1%}"
            for i in (-abs(share)).argsort()[:3]
        )
        token = _shown(generation.tokens.texts[start + output])
        logit, rank = generation.logits[output], generation.ranks[output]
        print(f"{token:>16}  {logit:6.2f} {rank:>5}  {sources}")


def _shown(text: str) -> str:
    """One token on one line: control characters must not act on the terminal."""
    shown = repr(text)[1:-1].replace("\\n", "↵")
    return shown.replace(" ", "␣") if shown.isspace() or not shown else shown.strip(" ")
