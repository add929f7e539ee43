"""What everything stands on: records and files, tokens, checks, text, progress. NumPy only."""
