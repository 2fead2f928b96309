"""Unit tests of adatta.lang."""
