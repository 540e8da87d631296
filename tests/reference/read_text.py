#!/usr/bin/env python3
"""Print the text that a reader (PP-OCR through the `rapidocr` package) finds in an image; exits with 3 without one."""

import sys

try:
    from rapidocr import RapidOCR
except ImportError:
    sys.exit(3)

result = RapidOCR()(sys.argv[1])
print(" ".join(result.txts or ()))
