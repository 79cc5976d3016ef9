"""Measurements, each a ratio within one run: machines are noisy, so two runs do not compare."""
