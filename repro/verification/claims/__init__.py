"""Claims of the paper's text against its own tables and our measurements."""
