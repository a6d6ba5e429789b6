"""The embedded engine: durable handlers in one's own process, journaled in one SQLite file.

Its pure half decides: `rows` are what is stored, `events` what happens, `outputs` what is to be done about it;
`lifecycle.decide` leads from one to the other over a `view` of everything decided so far, and `residency` holds in
memory what is in use. None of it knows files, threads, clocks or loops.
"""
