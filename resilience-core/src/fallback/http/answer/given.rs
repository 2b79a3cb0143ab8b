//! An answer as it is given: handles of the one piece of memory that it is kept in.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::super::FallbackBody;
use super::{CHECKED, PAYLOAD, field::Reader, shape, status};

/// A response from memory. Its values and its body are parts of that memory, and keep all
/// of it for as long as any of them is there.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

impl Given {
    /// The answer of that memory. `room` is for how many headers more there will be: with
    /// as many its map need not grow.
    pub(crate) fn new(memory: Bytes, room: usize) -> Self {
        let mut reader = Reader::at(&memory, PAYLOAD);
        let [_, _, count, trailers] = reader.head().expect(CHECKED);
        let headers = fields(&memory, &mut reader, count, room);
        let at = reader.at;
        Self::after(memory, at, headers, trailers)
    }

    /// The same with an `Age` and one more `Cache-Status`.
    #[inline]
    pub(crate) fn aged(memory: Bytes, age: HeaderValue, cache_status: HeaderValue) -> Self {
        let Some(shape) = shape::map(memory[0]) else {
            let mut given = Self::new(memory, 2);
            given.headers.insert(header::AGE, age);
            given.headers.append(header::CACHE_STATUS, cache_status);
            return given;
        };
        let mut reader = Reader::at(&memory, PAYLOAD);
        let [_, _, count, trailers] = reader.head().expect(CHECKED);
        let mut headers = shape.clone();
        let mut values = headers.values_mut();
        for value in values.by_ref().take(usize::from(count)) {
            let field = reader.field().expect(CHECKED);
            *value = field.value(&memory).expect(CHECKED);
        }
        // The two names that end each shape.
        for (value, ours) in values.zip([age, cache_status]) {
            *value = ours;
        }
        let at = reader.at;
        Self::after(memory, at, headers, trailers)
    }

    /// As a response.
    #[inline]
    pub(crate) fn into_response<B>(self) -> Response<FallbackBody<B>> {
        let mut response = Response::new(FallbackBody::from_memory(self.body, self.trailers));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// Another handle of it, without its trailers.
    #[inline(always)]
    pub(crate) fn response<B>(&self) -> Response<FallbackBody<B>> {
        let mut response = Response::new(FallbackBody::from_memory(self.body.clone(), None));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    #[inline]
    fn after(mut memory: Bytes, mut at: usize, headers: HeaderMap, trailers: u8) -> Self {
        let mut also = None;
        if let Some(count) = trailers.checked_sub(1) {
            let mut reader = Reader::at(&memory, at);
            also = Some(Box::new(fields(&memory, &mut reader, count, 0)));
            at = reader.at;
        }
        let status = status(&memory);
        // And not another handle of it: there is one already.
        memory.advance(at);
        Self {
            status,
            headers,
            body: memory,
            trailers: also,
        }
    }
}

fn fields(memory: &Bytes, reader: &mut Reader<'_>, count: u8, room: usize) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(usize::from(count) + room);
    for _ in 0..count {
        let field = reader.field().expect(CHECKED);
        let name = field.name(memory).expect(CHECKED);
        map.append(name, field.value(memory).expect(CHECKED));
    }
    map
}
