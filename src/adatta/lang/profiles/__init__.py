"""One YAML file a language; the file name is its BCP 47 tag."""
