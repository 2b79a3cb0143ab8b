use proptest::prelude::*;

use super::{field::*, *};

type Headers<'a> = &'a [(&'a str, &'a str)];

fn map(headers: Headers<'_>) -> HeaderMap {
    let pairs = headers.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    });
    pairs.collect()
}

fn parts(status: u16, headers: HeaderMap) -> response::Parts {
    let mut parts = http::Response::new(()).into_parts().0;
    parts.status = StatusCode::from_u16(status).unwrap();
    parts.headers = headers;
    parts
}

fn response(answer: HttpAnswer) -> Given {
    Given::new(answer.into_memory(), 0)
}

fn answer(headers: Headers<'_>, body: &[u8]) -> HttpAnswer {
    HttpAnswer::new(&parts(200, map(headers)), body, None).unwrap()
}

#[test]
fn the_format_is_this_and_stays_so() {
    let headers = map(&[("content-type", "a/b"), ("x-a", "1")]);
    let trailers = map(&[("etag", "\"e\"")]);
    let answer = HttpAnswer::new(&parts(203, headers), b"body", Some(&trailers)).unwrap();
    let expected = b"\x00\xcb\x02\x02\x01\x03a/b\x00\x03x-a\x011\x0a\x03\"e\"body";
    assert_eq!(answer.encode(), &expected[..]);
    assert_eq!(HttpAnswer::KIND, "http/1");
    // Stored answers name these by their places.
    let names: Vec<_> = KNOWN.iter().map(HeaderName::as_str).collect();
    assert_eq!(
        (names[0], names[11], names[38]),
        ("content-type", "vary", "server-timing")
    );
}

#[test]
fn no_known_name_is_there_twice_or_not_kept() {
    assert!(KNOWN.len() < usize::from(SENSITIVE));
    for (place, name) in KNOWN.iter().enumerate() {
        assert!(!KNOWN[..place].contains(name), "{name}");
        assert!(Hop::default().keeps(name), "{name}");
    }
}

#[test]
fn what_is_about_the_connection_and_the_old_age_are_left_out() {
    let headers = [
        ("connection", "x-hop, keep-alive"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("age", "7"),
        ("x-kept", "1"),
        ("cache-status", "other; hit"),
    ];
    assert_eq!(
        response(answer(&headers, b"")).headers,
        map(&[("x-kept", "1"), ("cache-status", "other; hit")])
    );
}

#[test]
fn trailers_stay_trailers_and_set_no_cookie() {
    let trailers = map(&[
        ("x-sum", "1"),
        ("set-cookie", "a=b"),
        ("trailer", "x-sum"),
        ("x-hop", "1"),
    ]);
    let kept = map(&[("x-sum", "1")]);
    let head = parts(200, map(&[("connection", "x-hop")]));
    let answer = HttpAnswer::new(&head, b"", Some(&trailers)).unwrap();
    assert_eq!(response(answer).trailers.as_deref(), Some(&kept));
    // None, and none that are kept, are two things.
    let answer = HttpAnswer::new(&head, b"", Some(&HeaderMap::new())).unwrap();
    assert_eq!(
        response(answer).trailers.as_deref(),
        Some(&HeaderMap::new())
    );
}

#[test]
fn a_value_that_is_not_for_logs_stays_so() {
    let mut headers = map(&[
        ("x-a", "open"),
        ("etag", "open"),
        ("x-b", "secret"),
        ("server", "secret"),
    ]);
    for value in headers.values_mut() {
        value.set_sensitive(value == "secret");
    }
    let answer = HttpAnswer::new(&parts(200, headers), b"", None).unwrap();
    for value in response(answer).headers.values() {
        assert_eq!(value.is_sensitive(), value == "secret");
    }
}

#[test]
fn one_with_more_headers_than_fit_is_not_kept() {
    let many = |count: usize| {
        let mut headers = HeaderMap::new();
        for _ in 0..count {
            headers.append(header::LINK, HeaderValue::from_static("a"));
        }
        headers
    };
    let none = HeaderMap::new();
    let is_kept = |headers: HeaderMap, trailers: &HeaderMap| {
        HttpAnswer::new(&parts(200, headers), b"", Some(trailers)).is_some()
    };
    assert!(is_kept(many(254), &many(254)));
    assert!(!is_kept(many(255), &none));
    assert!(!is_kept(none, &many(255)));
}

#[test]
fn one_with_headers_that_are_too_long_is_not_kept() {
    let long = |len: usize| {
        let value = HeaderValue::from_bytes(&vec![b'x'; len]).unwrap();
        let headers = HeaderMap::from_iter([(header::ETAG, value)]);
        HttpAnswer::new(&parts(200, headers), b"", None)
    };
    assert!(long(250_000).is_some_and(|answer| HttpAnswer::decode(&answer.encode()) == Ok(answer)));
    assert!(long(270_000).is_none());
}

#[test]
fn a_kept_answer_costs_little_beside_its_body() {
    let headers = [
        ("content-type", "application/json"),
        ("cache-control", "max-age=60"),
    ];
    let answer = answer(&headers, &[b'x'; 1_024]);
    let values: usize = headers.iter().map(|(_, value)| value.len()).sum();
    // Four bytes of head, two for each header.
    assert_eq!(answer.encode().len(), 1_024 + values + 8);
    assert_eq!(size_of::<Option<HttpAnswer>>(), 16);
    assert_eq!(answer.weight(), answer.encode().len() + 1);
}

#[test]
fn an_answer_does_not_hold_on_to_the_buffer_it_was_read_into() {
    let buffer = Bytes::from(vec![b'x'; 65_536]);
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_maybe_shared(buffer.slice(..10)).unwrap();
    headers.insert(header::ETAG, value);
    let answer = HttpAnswer::new(&parts(200, headers), &buffer[10..20], None).unwrap();
    assert!(buffer.is_unique(), "headers were dropped with the parts");
    assert_eq!(response(answer).body, &b"xxxxxxxxxx"[..]);
}

#[test]
fn a_response_has_no_copy_of_the_body_and_room_for_more_headers() {
    let headers = [("content-type", "application/json"), ("etag", "\"e\"")];
    let memory = answer(&headers, &[b'x'; 1_024]).into_memory();
    let given = Given::new(memory.clone(), 2);
    assert_eq!(given.headers, map(&headers));
    let all = memory.as_ptr_range();
    assert_eq!(given.body.as_ptr_range().end, all.end);
    assert!(all.contains(&given.headers[header::ETAG].as_bytes().as_ptr()));
    assert!(given.headers.capacity() >= 4);
}

#[test]
fn what_is_aged_says_so_whether_its_names_have_a_shape_or_not() {
    let told = || {
        let (age, status) = ("7", "rates; hit");
        (
            HeaderValue::from_static(age),
            HeaderValue::from_static(status),
        )
    };
    let headers: [Headers<'_>; 3] = [
        &[("content-type", "text/plain"), ("x-a", "1")],
        &[],
        &[("etag", "\"e\""), ("cache-status", "other; hit")],
    ];
    for headers in headers {
        let mut expected = map(headers);
        expected.insert(header::AGE, told().0);
        expected.append(header::CACHE_STATUS, told().1);
        let memory = answer(headers, b"body").into_memory();
        let given = Given::aged(memory.clone(), told().0, told().1);
        assert_eq!(given.headers, expected);
        assert_eq!(
            (given.status, &given.body[..]),
            (StatusCode::OK, &b"body"[..])
        );
    }
}

#[test]
fn a_payload_that_is_none_is_not_believed() {
    let good = b"\x00\xc8\x01\x00\x01\x03a/b";
    assert!(HttpAnswer::decode(good).is_ok());
    let table: [(&'static [u8], BadAnswer); 13] = [
        (b"", BadAnswer::Cut),
        (b"\x00\xc8\x01", BadAnswer::Cut),
        (&good[..8], BadAnswer::Cut),
        (b"\x00\xc8\x02\x00\x01\x03a/b", BadAnswer::Cut),
        (b"\x00\xc8\x00\x02", BadAnswer::Cut),
        (b"\x00\xc8\x01\x00\x01\xff\xff\xff\xff\x7f", BadAnswer::Cut),
        (b"\x00\x63\x00\x00", BadAnswer::Status(99)),
        (b"\xff\xff\x00\x00", BadAnswer::Status(65_535)),
        (b"\x00\xc8\x01\x00\x7f\x00", BadAnswer::Name),
        (b"\x00\xc8\x01\x00\x00\x01A\x00", BadAnswer::Name),
        (b"\x00\xc8\x01\x00\x00\x00\x00", BadAnswer::Name),
        (b"\x00\xc8\x00\x02\x00\x07upgrade\x00", BadAnswer::Name),
        (
            b"\x00\xc8\x01\x00\x01\x01\n",
            BadAnswer::Value(header::CONTENT_TYPE),
        ),
    ];
    for (payload, expected) in table {
        assert_eq!(HttpAnswer::decode(payload), Err(expected), "{payload:?}");
    }
    let many = [b"\x00\xc8\xff\x00".as_slice(), &b"\x01\x00".repeat(255)].concat();
    assert_eq!(HttpAnswer::decode(&many), Err(BadAnswer::Headers));
}

fn name() -> impl Strategy<Value = HeaderName> {
    let custom = "[a-z0-9!#$%&'*+.^_`|~-]{1,30}";
    let long = (100..300_usize).prop_map(|len| HeaderName::try_from("x".repeat(len)).unwrap());
    prop_oneof![
        long,
        (0..KNOWN.len()).prop_map(|place| KNOWN[place].clone()),
        custom.prop_map(|name| HeaderName::try_from(name).unwrap()),
    ]
    .prop_filter("kept", |name| {
        Hop::default().keeps(name) && name != header::SET_COOKIE
    })
}

fn value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![Just(b'\t'), 32..=126_u8, 128..=255_u8];
    let short = proptest::collection::vec(byte, 0..30);
    let longer = (100..300_usize).prop_map(|len| vec![b'x'; len]);
    let long = (16_000..17_000_usize).prop_map(|len| vec![b'x'; len]);
    let bytes = prop_oneof![20 => short, 2 => longer, 1 => long];
    (bytes, any::<bool>()).prop_map(|(bytes, sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(sensitive);
        value
    })
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    proptest::collection::vec((name(), value()), 0..8).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    })
}

proptest! {
    #[test]
    fn an_answer_is_given_as_it_was_kept_also_by_another_process(
        status in 100..1_000_u16,
        headers in headers(),
        trailers in proptest::option::of(headers()),
        body in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let kept = HttpAnswer::new(&parts(status, headers.clone()), &body, trailers.as_ref()).unwrap();
        let read = HttpAnswer::decode(&kept.encode());
        prop_assert_eq!(read.as_ref(), Ok(&kept));
        let memory = kept.into_memory();
        let mut aged = Given::aged(memory.clone(), HeaderValue::from_static("1"), HeaderValue::from_static("a; hit"));
        let age = aged.headers.remove(header::AGE);
        prop_assert_eq!(age, Some(HeaderValue::from_static("1")));
        let last = aged.headers.get_all(header::CACHE_STATUS).iter().next_back().map(HeaderValue::as_bytes);
        prop_assert_eq!(last, Some(&b"a; hit"[..]));
        if headers.contains_key(header::CACHE_STATUS) {
            aged.headers = headers.clone();
        } else {
            aged.headers.remove(header::CACHE_STATUS);
        }
        for given in [Given::new(memory.clone(), 1), aged] {
            prop_assert_eq!(given.status.as_u16(), status);
            for (name, value) in &given.headers {
                let same = |other: &HeaderValue| other.is_sensitive() == value.is_sensitive() && other == value;
                prop_assert!(headers.get_all(name).iter().any(same));
            }
            prop_assert_eq!(&given.headers, &headers);
            prop_assert_eq!(&given.body, &body);
            prop_assert_eq!(given.trailers.as_deref(), trailers.as_ref());
        }
    }

    /// What it takes is in what it was given: names that are in no list are the only
    /// copies, one at a time, and they are thrown away.
    #[test]
    fn any_bytes_are_an_answer_or_an_error(
        payload in proptest::collection::vec(prop_oneof![0..5_u8, any::<u8>()], 0..100),
    ) {
        if let Ok(answer) = HttpAnswer::decode(&payload) {
            let Given { headers, body, trailers, .. } = response(answer);
            prop_assert!(headers.len() <= payload.len() && body.len() <= payload.len());
            prop_assert!(trailers.is_none_or(|trailers| trailers.len() <= payload.len()));
        }
    }

    /// Most of any bytes have no status; these have, and headers that are nearly right.
    #[test]
    fn an_answer_with_some_bytes_changed_is_an_answer_or_an_error(
        headers in headers(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let kept = HttpAnswer::new(&parts(200, headers.clone()), b"body", Some(&headers)).unwrap();
        let mut payload = kept.encode().to_vec();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload.truncate(cut.index(payload.len() + 1));
        if let Ok(answer) = HttpAnswer::decode(&payload) {
            prop_assert!(response(answer).body.len() <= payload.len());
        }
    }
}
