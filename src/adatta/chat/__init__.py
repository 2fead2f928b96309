"""From rows to token ids and loss masks, in one place (no torch)."""
