"""How many made-up examples each property is tried with: few in a run of all tests, as many as are asked for otherwise.

PILOTLIGHT_EXAMPLES=2000 pytest tests/unit
"""

import os

from hypothesis import settings

# No deadline: on a busy machine one example may take as long as a hundred do on a quiet one.
settings.register_profile("here", max_examples=int(os.environ.get("PILOTLIGHT_EXAMPLES", "40")), deadline=None)
settings.load_profile("here")
