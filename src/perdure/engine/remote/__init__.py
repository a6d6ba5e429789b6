"""Handlers in other processes: the engine's client side of endpoints over HTTP, as restate-server has it.

* `endpoint`: one address and its connections; `http1` and `http2` carry requests, `exchange` is what both offer;
* `discovery`: what an endpoint says about itself, and what is wrong with it; `offering`: the same as the engine's
  rules want to know it;
* `channel`: one attempt over an exchange, with the interface of `perdure.engine.in_process`;
* `identity`: signatures under requests; `errors`: what goes wrong, with the codes of Restate.
"""
