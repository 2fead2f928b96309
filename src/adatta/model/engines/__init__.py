"""One module a generation engine; the file name is its key."""
