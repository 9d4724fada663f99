"""The book: figures of the chapters, checks of their exercises, explorers with sliders, the reader's own predictions.

`from resflow_lite.book.figures import chapter04 as figures`, and the same from `exercises`;
`from resflow_lite.book import explorers, predict, answer, concept_test, number_figures`.
"""

from ..faces import face

NAMES = {"predictions": "predict answer", "concepts": "concept_test", "figures.numbers": "number_figures"}
__getattr__, __dir__ = face(__name__, {"exercises": "", "explorers": "", "figures": "", **NAMES})
