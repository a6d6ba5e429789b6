"""Layer 3: durable values one can await, and the driver that keeps their order."""
