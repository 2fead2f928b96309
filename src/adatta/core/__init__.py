"""Records, errors, recipe, artefacts: what every other package stands on (no torch)."""
