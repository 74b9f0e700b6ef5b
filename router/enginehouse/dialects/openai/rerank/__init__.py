"""`POST …/rerank`, as Jina's and Cohere's APIs and the servers after them have it."""
