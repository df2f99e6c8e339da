"""hilnas: measure neural networks on real devices and search architectures with what was measured.

This package holds the vocabulary every layer shares; it imports nothing of the layers above it.
"""

__version__ = "0.1.0"
