"""Messages: `POST …/messages`, and `POST …/messages/count_tokens`."""
