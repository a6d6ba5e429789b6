"""Examples, one runnable idea each; the tests run all of them on a real restate-server.

- `greeter`: one handler, one step
- `counter`: a virtual object with state
- `checkout`: an order with compensation; what `perdure demo` runs and kills
- `fan_out`: many steps at once, read as they are done, with new ones pushed meanwhile
- `signup`: a workflow that waits for a durable promise
- `approval`: awakeable, signal and deadline, and `select` for whichever comes first
- `periodic`: a task that sends itself the next call
- `encrypted`: a codec around everything that leaves
- `logging_example`: structlog and standard logging that know about replays
"""
