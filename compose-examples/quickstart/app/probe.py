"""A health probe: ends with 0 when the URL answers."""

import sys
from urllib.request import urlopen

urlopen(sys.argv[1], timeout=2)
