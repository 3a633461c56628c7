"""The tables of a study: Markdown, LaTeX, CSV and plain text."""
