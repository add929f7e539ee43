"""Where a model keeps its parts, found by watching it run; the only place that decides it."""
