"""What dialects share: strict decoding of any struct, checks of JSON Schemas, framing of streams."""
