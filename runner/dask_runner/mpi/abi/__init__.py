"""Whether an image's MPI fits a host: facts of both, then rules over the facts.

::

    root directory ─inventory→ Facts ─┐
                                      ├─rules→ Cell … ─verdict→ Report
    root directory ─inventory→ Facts ─┘

The inventory reads files and never loads or runs them. The rules are pure: facts
of the image and of the host in, a verdict with its reason out.
"""
