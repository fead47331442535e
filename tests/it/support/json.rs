//! JSON as the tests look at it: an object whose values keep the bytes that they came with.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

#[derive(Debug, Clone)]
pub struct Json(BTreeMap<String, Box<RawValue>>);

impl Json {
    pub fn parse(text: &str) -> Json {
        Json(serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON object ({e}): {text}")))
    }

    pub fn parse_list(text: &str) -> Vec<Json> {
        let list: Vec<Box<RawValue>> =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON array ({e}): {text}"));
        list.iter().map(|item| Json::parse(item.get())).collect()
    }

    pub fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value's own bytes.
    pub fn raw(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("no {key} in {:?}", self.0)).get()
    }

    pub fn text(&self, key: &str) -> String {
        serde_json::from_str(self.raw(key)).unwrap_or_else(|_| panic!("{key} is {}", self.raw(key)))
    }

    pub fn number(&self, key: &str) -> u64 {
        self.raw(key).parse().unwrap_or_else(|_| panic!("{key} is {}", self.raw(key)))
    }

    pub fn flag(&self, key: &str) -> bool {
        self.raw(key).parse().unwrap_or_else(|_| panic!("{key} is {}", self.raw(key)))
    }

    pub fn list(&self, key: &str) -> Vec<Json> {
        Json::parse_list(self.raw(key))
    }

    pub fn texts(&self, key: &str) -> Vec<String> {
        serde_json::from_str(self.raw(key)).unwrap()
    }

    /// The `type` of a message.
    pub fn kind(&self) -> String {
        self.text("type")
    }
}

/// A JSON string that holds `text`.
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}
