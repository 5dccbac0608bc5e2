"""Weights that this project did not train."""
