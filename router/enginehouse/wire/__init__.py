"""The chat-completions API as bytes: decoding of requests, encoding of answers and errors.

`schemas` holds the structs of the API, `decode` turns a body into them, `generation` turns them into what an
instance is asked, `encode` turns events into answers, `errors` is the only place with HTTP status codes.
"""
