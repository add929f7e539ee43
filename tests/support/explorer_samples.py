"""What tests of explorers share: a tiny model, a text it wrote, and waiting for the work."""

from __future__ import annotations

from method_samples import subject

from ecco_captum.widgets.runner import Runner

LM, GENERATION = subject("causal:gpt2")


def settled(runner: Runner) -> str:
    """Waits, and returns what it says."""
    runner.wait()
    return str(runner.message.value)
