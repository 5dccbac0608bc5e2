"""Intervals and paired tests: pure functions of arrays and explicit generators. Imports no torch."""
