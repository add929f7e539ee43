"""What each layer knows: linear probes with control tasks."""
