"""The marks of a model's row.

Owns the constants that the fleet, the answers and the reports share. Never holds state.
"""

from __future__ import annotations

FROZEN = 1  # flag: nothing may be learned or switched
STOPPED = 2  # flag: labels are joined and not scored
