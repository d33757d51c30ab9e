//! Tests that cross modules. They live inside the crate because a plugin is a `cdylib` only, which nothing can link to.

mod decisions;
mod glue;
mod vectors;
