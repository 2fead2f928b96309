"""One YAML file a chat family whose template needs a word."""
