"""Measurements beside what users would pick instead: ``make bench``.

Ratios matter, not the numbers: machines differ and are noisy.
"""
