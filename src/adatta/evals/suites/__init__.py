"""One module a suite; the file name is its key."""
