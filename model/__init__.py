"""The network as mathematics: layers, training, the integer network and its golden executor."""

import os

# The golden executor multiplies small matrices: OpenBLAS's threads take longer to wait for each
# other than to multiply. It reads this when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
