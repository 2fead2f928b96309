"""What people do with a model: export it, and run it elsewhere."""
