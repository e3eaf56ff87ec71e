"""Bitstreams by Vivado: the project that it builds, running it, and what comes out."""
