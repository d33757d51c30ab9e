//! Tests of the library as its users see it.

mod crypto;
mod model;
mod reading;
mod vectors;
