"""Programs to look at: loop nests, what a step changed, accesses to memory, a kernel beside its machine's limits.

Every view is a value with two faces: `str(view)` for a terminal, and HTML of the same content, which a notebook shows
by itself. Importing this costs nothing beyond tensorlang; nothing here is needed to schedule or build.

>>> print(tl.display.diff("for i in 8:", "parallel i in 8:", "parallel(i)"))
parallel(i)
- for i in 8:
+ parallel i in 8:
"""

from tensorlang.display.accesses import Accesses, accesses
from tensorlang.display.diff import Diff, diff
from tensorlang.display.nest import Nest, nest
from tensorlang.display.page import View, document
from tensorlang.display.roofline import Peaks, Roofline

__all__ = ["Accesses", "Diff", "Nest", "Peaks", "Roofline", "View", "accesses", "diff", "document", "nest"]
