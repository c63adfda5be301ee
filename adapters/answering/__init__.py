"""ANSWERS inputs with the hub's specialists.

Questions come in from web processes over the broker; one long-lived worker, which keeps bases, adapters and example
vectors in memory, routes and runs them; decisions and predictions leave, in parts where they grow.
Web processes import only `line` here, never torch; nothing is answered with what the asker may not read.
"""
