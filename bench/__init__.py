"""Benchmarks: what building and simulating cost, and what the units are made of."""
