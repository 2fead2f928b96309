"""Tests of adatta.pipeline."""
