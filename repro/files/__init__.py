"""Reading and writing of the project's own files: checked YAML and JSON, locks."""
