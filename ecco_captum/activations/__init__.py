"""Hidden states and neurons: reading, storing, ablating."""
