"""What people read: tables, the report, summaries for continuous integration, explanations. Imports no torch."""
