"""The book: figures of the chapters, checks of their exercises, explorers with sliders, the reader's own predictions.

`from resflow_lite.book.figures import chapter04 as figures`, and the same from `exercises`;
`from resflow_lite.book import explorers, predict, answer, concept_test, number_figures`.
What starts with an underscore is a module's own.
"""

from typing import TYPE_CHECKING

from ..faces import face

if TYPE_CHECKING:
    from . import exercises, explorers, figures
    from .concepts import concept_test
    from .figures.numbers import number_figures
    from .predictions import answer, predict

__getattr__, __dir__ = face(__name__, __file__)
