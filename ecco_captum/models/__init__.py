"""Loading and wrapping a model, encoding text, and reading or changing one forward pass."""
