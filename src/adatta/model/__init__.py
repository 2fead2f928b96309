"""Load, adapt, merge and score models; token forests; engines."""
