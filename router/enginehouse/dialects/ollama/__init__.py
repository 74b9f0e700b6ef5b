"""The dialect of Ollama: chat and generate as NDJSON or whole, and its lists of models."""
