"""The command line (no torch at import)."""
