"""From a push to a report: hooks, builds, publishing the model, deploying it, and what is written down about it.

``hook`` is what git calls; ``build`` and ``deploy`` are the two kinds of run; ``plan`` and ``check`` read only.
"""
