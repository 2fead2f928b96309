"""adatta: makes an open instruct model better at Italian, with proof."""

__version__ = "0.1.0"
