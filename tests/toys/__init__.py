"""Tiny tokenizers and models, built in process: every test's subjects."""
