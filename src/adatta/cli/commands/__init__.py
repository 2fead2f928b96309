"""One module a command; the file name is its key."""
