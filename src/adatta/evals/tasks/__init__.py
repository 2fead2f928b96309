"""One module a task; the file name is its key."""
