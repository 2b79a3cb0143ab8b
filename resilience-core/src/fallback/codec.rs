//! How answers of some type become bytes, for a store beyond this process.

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::Key;

/// Any error, of a codec or of another service.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Turns answers of type `V` into bytes and back.
///
/// # Example
///
/// ```
/// use resilience_core::fallback::Codec;
///
/// // Change the number when older records can no longer be read.
/// let rates: Codec<Vec<(String, f64)>> = Codec::json("rates/1");
/// assert_eq!(rates.name(), "rates/1");
/// ```
pub struct Codec<V> {
    name: Box<str>,
    encode: Arc<Encode<V>>,
    decode: Arc<Decode<V>>,
}

type Encode<V> = dyn Fn(&V) -> Result<Bytes, BoxError> + Send + Sync;
type Decode<V> = dyn Fn(&Bytes) -> Result<V, BoxError> + Send + Sync;

impl<V> Codec<V> {
    /// `name` says what the bytes are and in which version of their format: a
    /// record of another name is not decoded, but skipped and counted.
    #[must_use]
    pub fn new(
        name: &str,
        encode: impl Fn(&V) -> Result<Bytes, BoxError> + Send + Sync + 'static,
        decode: impl Fn(&Bytes) -> Result<V, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            encode: Arc::new(encode),
            decode: Arc::new(decode),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn json(name: &str) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self::new(
            name,
            |value| Ok(serde_json::to_vec(value)?.into()),
            |bytes| Ok(serde_json::from_slice(bytes)?),
        )
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<V> Clone for Codec<V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            encode: Arc::clone(&self.encode),
            decode: Arc::clone(&self.decode),
        }
    }
}

impl<V> fmt::Debug for Codec<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A codec as the flow sees it: HTTP has one of several kinds.
pub(crate) trait Code<V>: Send + Sync {
    /// The kind and the bytes; `None`: such a value is not stored.
    fn encode(&self, value: &V) -> Option<(Box<str>, Bytes)>;

    /// `None` if it cannot be.
    fn decode(&self, key: &Key, kind: &str, payload: &Bytes) -> Option<V>;

    /// Whether the value only says where the answer is.
    fn is_note(&self, value: &V) -> bool;

    /// How many bytes a decoded value has on the heap.
    fn bytes(&self, value: &V, payload: &Bytes) -> usize;
}

impl<V> Code<V> for Codec<V> {
    fn encode(&self, value: &V) -> Option<(Box<str>, Bytes)> {
        match (self.encode)(value) {
            Ok(bytes) => Some((self.name.clone(), bytes)),
            Err(error) => {
                tracing::warn!(
                    class = "fallback",
                    codec = %self.name,
                    error = %crate::one_line::one_line(&error.to_string(), 200),
                    "an answer could not be encoded, and is kept in memory only"
                );
                None
            }
        }
    }

    fn decode(&self, _: &Key, kind: &str, payload: &Bytes) -> Option<V> {
        if kind != &*self.name {
            return None;
        }
        (self.decode)(payload).ok()
    }

    fn is_note(&self, _: &V) -> bool {
        false
    }

    /// A guess, better than nothing.
    fn bytes(&self, _: &V, payload: &Bytes) -> usize {
        payload.len()
    }
}
