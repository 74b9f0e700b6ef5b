"""The suite's own HTTP/1.1 client and SSE parser: raw on purpose, strict on purpose, no SDK in between."""
