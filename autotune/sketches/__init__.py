"""Sketches: made by rules for CPUs (rules.py), or written by hand (space.py)."""

from autotune.sketches.parts import Part
from autotune.sketches.rules import RULES, Rule, sketches_for

__all__ = ["RULES", "Part", "Rule", "sketches_for"]
