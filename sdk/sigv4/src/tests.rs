//! Tests that cross modules.

mod crypto;
mod model;
mod reading;
mod vectors;
