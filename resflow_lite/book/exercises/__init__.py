"""Checks of the chapters' exercises, one module per chapter: from resflow_lite.exercises import chapter08."""
