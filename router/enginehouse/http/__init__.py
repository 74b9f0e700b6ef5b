"""The HTTP side: routes, streams and the server. Litestar and uvicorn appear only here."""
