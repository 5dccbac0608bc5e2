"""Executes work orders: trains or fetches, predicts, evaluates and writes records."""
