"""Write models for others: safetensors, GGUF; check that they answer alike."""
