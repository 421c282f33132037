"""A signer of one's own: bytes on standard input, a signature of Ed25519 on standard output.

Where a member has a card, a token or a service that signs, a command of its own takes this one's
place: p2pfl charter key FILE --public KEY --command 'python signer.py SECRET'.
"""

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

secret = Ed25519PrivateKey.from_private_bytes(Path(sys.argv[1]).read_bytes())
sys.stdout.buffer.write(secret.sign(sys.stdin.buffer.read()))
