"""One module a kind of source; the file name is its key."""
