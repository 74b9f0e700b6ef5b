"""Completions: `POST …/completions`, text that goes on behind a prompt as it stands, without a template."""
