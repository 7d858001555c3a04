"""Measurements. Ratios matter, not the numbers: machines differ and are noisy."""
