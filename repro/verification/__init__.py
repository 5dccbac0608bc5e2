"""Records against the paper: verdicts, integrity of records, orderings, effects, claims. Imports no torch."""
