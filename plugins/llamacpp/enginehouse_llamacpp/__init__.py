"""llama.cpp behind Enginehouse."""
