"""Log-determinant estimators: what the paper is about. Nothing here knows of layers."""
