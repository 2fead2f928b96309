"""One suite a registry, over all its entries, and the shapes that cross borders."""
