"""Tests; tests/areas holds the long suites."""
