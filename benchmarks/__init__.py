"""`python -m benchmarks.<name>` prints a table and appends a JSON line to benchmarks/results/<name>.jsonl."""
