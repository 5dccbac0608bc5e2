"""Data sets: reading, checking, resizing and augmenting."""
