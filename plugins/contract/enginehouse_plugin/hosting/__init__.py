"""The kit that hosts an engine: a managed child, a lean local HTTP client, a worker host."""
