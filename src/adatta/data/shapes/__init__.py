"""One YAML file a row shape; the file name is its key."""
