"""The report: one self-contained page about one model, made from what the topics hold.

Owns the way from the events of a model to a page without scripts and without a request to anywhere. Never reads a topic
or writes a file. Called by the verb ``report``.

    history (what was read) ──► chart, square (pictures), table (figures) ──► section (a series) ──► document (the page)
                                        axis, plot, markup below all of them
"""

from adaptive_stream.cli.page.document import write_page
from adaptive_stream.cli.page.history import History

__all__ = ["History", "write_page"]
