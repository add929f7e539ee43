"""Texts from wherever users keep them."""
