"""The sections of `benchmarks/gpu.py`, by what they measure."""
