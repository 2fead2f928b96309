"""Tests of adatta.evals."""
