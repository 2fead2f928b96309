"""One module an attention backend for forests; the file name is its key."""
