"""Tokens of texts and conversations: `POST /tokenize` and `POST /detokenize`, as vLLM's server has them."""
