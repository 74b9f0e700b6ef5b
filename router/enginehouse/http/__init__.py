"""The HTTP side: connections, routes and the server. Litestar appears only here."""
