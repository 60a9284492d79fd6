"""Benchmarks: minisd against other libraries on the machine at hand.

    python -m tests.benchmarks                 # everything, about 12 minutes on 2 cores
    python -m tests.benchmarks --quick         # small sizes: does it work?
    python -m tests.benchmarks --only conv     # some rows

Run it from the repository root. README.md beside this file says which environment it needs and what
every row means. Nothing here is a test: pytest collects none of it, and no time is asserted.
"""
