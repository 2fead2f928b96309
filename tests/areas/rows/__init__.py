"""Rows, the long part: every family of chat templates, hostile texts, damaged files."""
