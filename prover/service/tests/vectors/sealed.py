"""The known answers of src/store/sealed/tests.rs, made with pyca/cryptography: python3 sealed.py"""

import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FRAME = 1 << 20
KEY = bytes(range(32))
PLAIN = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(2 * FRAME + 1000))


def derive(salt, info):
    return HKDF(hashes.SHA256(), 32, salt or None, info).derive(KEY)


def frames(key, plain):
    parts = [plain[i : i + FRAME] for i in range(0, len(plain), FRAME)] or [b""]
    out = b""
    for number, part in enumerate(parts):
        last = number + 1 == len(parts)
        nonce = bytes(7) + number.to_bytes(4, "big") + bytes([last])
        out += AESGCM(key).encrypt(nonce, part, b"")
    return out


for name, length in [("empty", 0), ("short", 5), ("one frame", FRAME), ("three frames", 2 * FRAME + 1000)]:
    print(name, hashlib.sha256(frames(KEY, PLAIN[:length])).hexdigest())

key_id = derive(b"", b"zkinfer key id v1")[:8]
print("key id", key_id.hex())
print("identity", hmac.new(derive(b"", b"zkinfer input identity v1"), PLAIN[:5], "sha256").hexdigest())

salt = bytes(range(100, 116))
head = b"\x01" + key_id + salt
data_key = bytes(range(200, 232))
print("wrapped", (head + AESGCM(derive(salt, b"zkinfer wrap v1")).encrypt(bytes(12), data_key, head)).hex())

ctr = Cipher(algorithms.AES256(derive(salt, b"zkinfer upload v1")), modes.CTR(bytes(16))).encryptor()
print("file", hashlib.sha256(b"zkseal\0\x01" + key_id + salt + ctr.update(PLAIN)).hexdigest())
