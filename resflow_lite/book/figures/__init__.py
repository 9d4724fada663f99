"""Figures of the chapters, a module for each: `from resflow_lite.book.figures import chapter04 as figures`."""
