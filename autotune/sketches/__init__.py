"""Sketches by kind of target: functions that write a schedule with knobs left open."""
