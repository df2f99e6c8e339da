"""The measuring program: Python 3.6+, standard library only, the same on every device.

It is started as one fresh process, spoken to in JSON lines over stdin and stdout, and reports raw samples and what
the sensors said. Nothing here imports the rest of hilnas, so that it runs packed on a board where nothing is
installed.
"""

PROTOCOL_VERSION = 2
