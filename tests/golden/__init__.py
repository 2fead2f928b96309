"""Stored numbers and how they were made."""
