"""A deployment's secrets: made as PGP blocks, opened at the last moment, kept out of every text.

``generate`` fills the model's blocks, ``add`` adds one, ``rotate`` gives one a new value, ``reencrypt`` writes all for
another key, ``Keyring`` opens them where the private key is, ``Scrubber`` takes what was inside out of what people will
read, ``credentials`` writes the files that clients need.
"""

from pillarbox.secrets.credentials import credentials
from pillarbox.secrets.errors import SecretsError
from pillarbox.secrets.generate import KINDS, add, generate, rotate
from pillarbox.secrets.keyring import DEFAULT_HOME, Keyring
from pillarbox.secrets.reencrypt import reencrypt
from pillarbox.secrets.scrubber import Scrubber

__all__ = [
    "DEFAULT_HOME",
    "KINDS",
    "Keyring",
    "Scrubber",
    "SecretsError",
    "add",
    "credentials",
    "generate",
    "reencrypt",
    "rotate",
]
