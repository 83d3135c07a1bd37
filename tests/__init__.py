"""The tests.  What they compute is too small for several threads, which would wait for those of
other workers."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries when they are imported
