"""Checks of the chapters' exercises, a module for each: `from resflow_lite.book.exercises import chapter08`."""
