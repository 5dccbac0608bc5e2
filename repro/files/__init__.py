"""How the project reads and writes files of its own: checked YAML and JSON, locks."""
