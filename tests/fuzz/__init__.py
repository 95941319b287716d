"""Random programs under random schedules: `python -m tests.fuzz --minutes 5 --seed 0`.

random_te draws expressions as source text, drawers draws steps as source text, check runs the two and compares all
ways of computing the result, shrink makes a failure small, refusals asks whether what was refused would have done harm.
"""
