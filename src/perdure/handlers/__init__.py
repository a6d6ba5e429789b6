"""Layer 5: what users write (services, handlers, contexts), and running a handler once."""
