"""What every record and every attribution method must pass; for third parties, too."""
