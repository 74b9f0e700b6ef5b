"""`POST …/embeddings`."""
