"""That memory stays with the process between one tensor and the next."""

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource
from model.training.memory import keep_freed

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        b"x" * (1 << 25)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(4))
keep_freed()
faults(1)
print(faults(4))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_pages_are_cleared_once():
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert before > 1000 and after < 100, run.stdout
