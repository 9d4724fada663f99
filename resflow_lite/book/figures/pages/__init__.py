"""Figures of the pages in notebooks/reproduction, a module for each."""
