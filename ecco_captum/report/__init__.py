"""Every analysis of one text, each with the verdict of its test."""
