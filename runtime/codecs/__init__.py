"""Codecs turn record values into rows of numbers and rows into values, a batch at a time; one a file."""
