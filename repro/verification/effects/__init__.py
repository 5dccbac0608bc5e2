"""Paired effects: what a row gains over its baseline, on the same items."""
