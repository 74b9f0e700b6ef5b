"""`POST /v1/chat/completions`: request, answer and everything between them."""
