"""Writes hashes.json: passwords and their hashes, made by argon2-cffi (the reference implementation of Argon2 in C) and bcrypt (of PyCA).

pip install argon2-cffi bcrypt; python generate.py > hashes.json
"""

import json

import argon2
import bcrypt

PASSWORDS = ["", "a", "open sesame", "123£", "correct horse battery staple", "пароль", "x" * 71]
PARAMETERS = [(8, 1, 1, 8, 16), (64, 3, 1, 16, 32), (256, 2, 4, 16, 32), (19456, 2, 1, 16, 32), (100, 1, 3, 32, 64)]

found = []
for index, password in enumerate(PASSWORDS):
    memory, passes, lanes, salt, length = PARAMETERS[index % len(PARAMETERS)]
    hasher = argon2.PasswordHasher(passes, memory, lanes, length, salt, type=argon2.Type.ID)
    found.append({"password": password, "hash": hasher.hash(password)})
    for form in ["2b", "2a", "2y"]:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4 + index % 3)).decode()
        # the three are the same but for faults of old programs that these passwords do not meet
        found.append({"password": password, "hash": f"${form}${hashed[4:]}"})
print(json.dumps(found, indent=1, ensure_ascii=False))
