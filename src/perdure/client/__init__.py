"""Edge: calls from outside. A typed client of the ingress HTTP API, over a small HTTP/1.1 client of its own."""
