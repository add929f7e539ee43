"""Neurons that fire together: matrix factorisation, its stability and its effect."""
