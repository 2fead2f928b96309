"""Against other libraries, on the embedded model."""
