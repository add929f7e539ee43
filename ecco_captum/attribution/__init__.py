"""Which input tokens each output token came from."""
