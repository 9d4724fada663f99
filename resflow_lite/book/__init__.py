"""The book: figures of the chapters, checks of their exercises, explorers with sliders.

`from resflow_lite.book.figures import chapter04 as figures`, and the same from `exercises`;
`from resflow_lite.book import explorers`.
"""

from ..faces import face

__getattr__, __dir__ = face(__name__, {"exercises": "", "explorers": "", "figures": ""})
