"""The same requests to every engine, with the same weights."""
