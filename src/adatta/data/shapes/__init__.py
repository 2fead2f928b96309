"""One module a row shape; the file name is its key."""
