"""Plan and run the stages of a recipe; the report (no torch at import)."""
