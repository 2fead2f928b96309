"""Sources, shapes and checks: from files to typed rows (no torch)."""
