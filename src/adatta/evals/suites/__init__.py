"""One module a suite, called as the suite, with `_` for `-`."""
