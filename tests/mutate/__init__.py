"""Do the tests see faults? `python -m tests.mutate --seed 0 --count 200`.

A mutant is the code with one small fault put in: operators finds the places where one fits, mutants draws some of them
from a seed, baseline learns which tests run what, runner lets tests and fuzzer loose on one mutant at a time.
"""
