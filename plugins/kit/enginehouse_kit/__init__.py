"""Parts that a backend is made of: `process`, `worker`, `http`, `text` and `grammar`; each is imported by itself."""
