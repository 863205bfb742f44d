"""Damaged and hostile files for every reader: only a UsageError of one line may come out.

`python -m tests.fuzz --minutes 10`, or `make fuzz MINUTES=10`; the suite runs a few inputs only.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own helpers, such as tiny models
