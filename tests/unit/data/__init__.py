"""Unit tests of adatta.data."""
