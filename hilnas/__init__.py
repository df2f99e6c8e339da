"""hilnas: measure neural networks on real devices and search architectures with what was measured.

This package holds the vocabulary every layer shares; it imports nothing of the layers above it.
"""

import logging

# A library says nothing on its own: whoever wants its log adds a handler.
logging.getLogger("hilnas").addHandler(logging.NullHandler())

__version__ = "0.1.0"
