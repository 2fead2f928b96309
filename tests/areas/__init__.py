"""The long suites, one folder an area."""
