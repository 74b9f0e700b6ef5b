"""Engines that speak HTTP on this host: a lean client, and the OpenAI wire. Needs the extra `http`."""
