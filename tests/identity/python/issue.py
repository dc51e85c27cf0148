"""Makes a key and a token of each algorithm with PyJWT, and prints them as JSON: tokens, jwks, pems, secret."""

import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a secret that is shared with nobody else, by PyJWT"
KEYS = {
    "RS256": (rsa.generate_private_key(public_exponent=65537, key_size=2048), RSAAlgorithm),
    "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
}


def token(key, algorithm, headers=None):
    now = int(time.time())
    claims = {
        "sub": "user of PyJWT",
        "iss": "https://id.example/",
        "aud": ["other", "count"],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "rooms": ["/team/7", "/blog/*"],
        "info": {"name": "Zoë"},
    }
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


tokens = {"HS256": token(SECRET, "HS256")}
pems = {}
keys = []
for algorithm, (key, kind) in KEYS.items():
    kid = f"{algorithm}-1"
    public = key.public_key()
    keys.append(json.loads(kind.to_jwk(public)) | {"kid": kid, "use": "sig", "alg": algorithm})
    pems[algorithm] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    tokens[algorithm] = token(key, algorithm, {"kid": kid})
print(json.dumps({"tokens": tokens, "jwks": {"keys": keys}, "pems": pems, "secret": SECRET}))
