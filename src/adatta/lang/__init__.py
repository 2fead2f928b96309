"""Language profiles and identification (no torch)."""
