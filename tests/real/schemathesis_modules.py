# Hooks of schemathesis (tests/suite/schemathesis.rs): what it uploads where a module is wanted. EDGEWARD_MODULE is a file with one that works.

import os

import schemathesis
from hypothesis import strategies as st

with open(os.environ["EDGEWARD_MODULE"], "rb") as file:
    MODULE = file.read()

HEAD = MODULE[:8]

schemathesis.openapi.media_type(
    "application/wasm",
    st.one_of(
        st.just(MODULE),
        # cut off, changed in one place, of another kind, anything
        st.integers(0, len(MODULE) - 1).map(lambda end: MODULE[:end]),
        st.tuples(st.integers(0, len(MODULE) - 1), st.integers(1, 255)).map(
            lambda at: MODULE[: at[0]] + bytes([MODULE[at[0]] ^ at[1]]) + MODULE[at[0] + 1 :]
        ),
        st.binary(max_size=64).map(lambda rest: HEAD + rest),
        st.binary(max_size=64),
    ),
)
