"""Opening, hashing and checking files: regular ones within a bound, the project's own YAML and JSON, locks."""
