"""The command line, `python -m resflow_lite VERB`: what `make` does, for machines without make, and its parts."""

import re
import sys

from .errors import ResflowError
from .lab.verbs import parser

OUT_OF_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory", re.IGNORECASE)


def main(words: list[str] | None = None) -> int:
    """Run one verb. Exit code 2 if what was given cannot work (settings, data), 1 if a training, a cell, a run of
    a sweep or the machine failed, 143 if SIGTERM stopped a training, 130 after Ctrl-C; each with one sentence."""
    try:
        options = parser().parse_args(words)
        from .book.commands import VERBS  # torch takes seconds, which --help and a wrong option need not wait for

        VERBS[options.verb](options)
    except ResflowError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the lines, such as head, has seen enough
        sys.stdout = None
        return 1
    except OSError as error:
        print(f"a file or a connection failed: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error))):
            raise
        told = "; ".join(str(error).split("\n")[:1])
        print(f"the memory does not suffice ({told}): lower batch_size, or raise accumulation", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
