//! Exchanges of the fake host.

use std::cell::RefCell;

use crate::messages::{ContextEntry, ContextValue, Peer};

/// An exchange of a test.
#[derive(Debug)]
pub struct Exchange {
    pub(in crate::testing) request_id: String,
    pub(in crate::testing) route: String,
    pub(in crate::testing) route_pattern: String,
    pub(in crate::testing) peer: Peer,
    pub(in crate::testing) namespace: String,
    pub(in crate::testing) principal: Option<String>,
    entries: RefCell<Vec<ContextEntry>>,
}

impl Exchange {
    pub(in crate::testing) fn new() -> Self {
        Self {
            request_id: "test-request".to_owned(),
            route: "test".to_owned(),
            route_pattern: "/".to_owned(),
            peer: Peer {
                address: "192.0.2.1".to_owned(),
                port: 50_000,
                client_address: "192.0.2.1".to_owned(),
                tls_version: None,
                sni: None,
                client_certificate: None,
            },
            namespace: "plugin".to_owned(),
            principal: None,
            entries: RefCell::default(),
        }
    }

    /// Writes an entry, in the place of one of the same name.
    pub(in crate::testing) fn put(&self, entry: ContextEntry) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|old| (&old.namespace, &old.key) != (&entry.namespace, &entry.key));
        entries.push(entry);
    }

    pub fn request_id(&self) -> String {
        self.request_id.clone()
    }

    pub fn route(&self) -> String {
        self.route.clone()
    }

    pub fn route_pattern(&self) -> String {
        self.route_pattern.clone()
    }

    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<ContextValue> {
        let entries = self.entries.borrow();
        let entry = entries
            .iter()
            .find(|entry| entry.namespace == namespace && entry.key == key)?;
        Some(entry.value.clone())
    }

    pub fn set(&self, key: &str, value: &ContextValue) -> Result<(), String> {
        if let ContextValue::Json(text) = value {
            let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
            parsed.map_err(|error| format!("context {key}: {error}"))?;
        }
        self.put(ContextEntry {
            namespace: self.namespace.clone(),
            key: key.to_owned(),
            value: value.clone(),
        });
        Ok(())
    }

    pub fn entries(&self) -> Vec<ContextEntry> {
        self.entries.borrow().clone()
    }

    pub fn principal(&self) -> Option<String> {
        self.principal.clone()
    }
}
