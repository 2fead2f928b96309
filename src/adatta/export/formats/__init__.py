"""One module an export format; the file name is its key."""
