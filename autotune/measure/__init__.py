"""Measuring candidates in processes that may crash, hang or lie without harm to the tuner."""
