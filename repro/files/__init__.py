"""Opening, hashing and checking files: regular ones within a bound, text in any encoding, CSV, YAML, JSON, locks."""
