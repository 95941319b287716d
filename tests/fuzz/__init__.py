"""Random programs under random schedules: `python -m tests.fuzz --minutes 5 --seed 0`.

random_te draws expressions as source text (values what stands in them), drawers draws steps as source text (draw what
they choose from, tensorize and intrinsics what belongs to that step), check runs the two and compares all ways of
computing the result, shrink makes a failure small, refusals asks whether what was refused would have done harm.
`--record` adds what a run of `--cases N` from `--seed S` came to as a line to benchmarks/results/fuzz.jsonl; `--sum`
adds up the lines there.
"""
