"""Tests that read the source: imports, budgets, docstrings, errors."""
