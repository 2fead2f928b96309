"""Unit tests of adatta.chat."""
