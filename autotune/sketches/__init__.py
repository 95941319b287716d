"""Sketches: made by rules for CPUs (rules.py), or written by hand (space.py)."""

from autotune.sketches.rules import RULES, Rule, sketches_for

__all__ = ["RULES", "Rule", "sketches_for"]
