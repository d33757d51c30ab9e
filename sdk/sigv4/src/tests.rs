//! Tests that cross modules.

mod crypto;
mod model;
mod reading;
mod vectors;

/// Fields as a request has them. They are never freed, which is little in a test.
fn kept(fields: &[(String, Vec<u8>)]) -> &[(&str, &[u8])] {
    let fields = fields.iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    fields.leak()
}
