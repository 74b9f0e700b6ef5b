"""`POST /v1/responses`: request, answer, what is kept of it, and everything between them."""
