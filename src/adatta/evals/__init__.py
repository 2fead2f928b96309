"""Suites, tasks, measures and statistics: base against adapted."""
