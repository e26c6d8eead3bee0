use std::{any::Any, collections::BTreeMap};

use super::*;
use crate::access::KeyRejection;

/// Headers by their names.
fn shown(headers: &HeaderMap) -> BTreeMap<&str, &str> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect()
}

#[test]
fn times_are_milliseconds_to_the_microsecond() {
    for (nanos, told) in
        [(0, "0"), (499, "0"), (1_500, "0.002"), (1_234_567, "1.235"), (2_000_000_000, "2000")]
    {
        assert_eq!(millis(Duration::from_nanos(nanos)).to_string(), told);
    }
}

#[test]
fn the_cost_of_a_request_is_told_with_its_writes_and_its_counter_only_where_it_has_them() {
    let meters = Meters::default();
    let told = |meters: &Meters| {
        let mut headers = HeaderMap::new();
        show_cost(&mut headers, meters);
        let shown = shown(&headers);
        shown.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
    };
    meters.catalog.add_read(0.5);
    meters.catalog.add_read(1.0);
    meters.key.add_read(1.0);
    let reads = ["x-consumed-read-units: 1.5", "x-queries: 2"];
    assert_eq!(told(&meters), reads);
    meters.catalog.add_write(3.0);
    let writes =
        ["x-consumed-read-units: 1.5", "x-consumed-write-units: 3", "x-queries: 2", "x-writes: 1"];
    assert_eq!(told(&meters), writes);
    for (write, units) in [(false, ["1", "0"]), (true, ["1", "2"])] {
        if write {
            meters.counter.add_write(2.0);
        } else {
            meters.counter.add_read(1.0);
        }
        let mut all = writes.map(ToOwned::to_owned).to_vec();
        all.push(format!("x-counter-read-units: {}", units[0]));
        all.push(format!("x-counter-write-units: {}", units[1]));
        all.sort();
        assert_eq!(told(&meters), all);
    }
    assert_eq!(meters.units(), (3.5, 5.0));
    let written = Meters::default();
    written.counter.add_write(1.0);
    assert_eq!(told(&written)[2..], ["x-counter-write-units: 1", "x-queries: 0"]);
}

#[test]
fn an_error_comes_with_the_headers_that_say_what_to_do_about_it() {
    let plain = || BTreeMap::from([("cache-control", "no-store"), ("content-type", "text/x")]);
    let with = |name, value| {
        let mut headers = plain();
        headers.insert(name, value);
        headers
    };
    for (error, status, headers) in [
        (ApiError::Gone, 410, plain()),
        (ApiError::NotFound(Absent::Path), 404, plain()),
        (ApiError::internal("broken"), 500, plain()),
        (ApiError::MethodNotAllowed("GET, HEAD"), 405, with("allow", "GET, HEAD")),
        (ApiError::Unavailable("busy".into()), 503, with("retry-after", "1")),
        (ApiError::UnderWay(Duration::ZERO), 409, with("retry-after", "1")),
        (ApiError::UnderWay(Duration::from_mins(1)), 409, with("retry-after", "2")),
        (ApiError::TooMany(Excess::Exports), 429, with("retry-after", "30")),
        (ApiError::KeyRejected(KeyRejection::Unknown), 401, with("www-authenticate", "Bearer")),
        (ApiError::KeyRejected(KeyRejection::IpNotAllowed), 403, plain()),
    ] {
        let rendered =
            RenderedError { content_type: "text/x", body: "{}".to_owned(), challenge: "Bearer" };
        let response = respond(&error, rendered);
        assert_eq!((response.status().as_u16(), shown(response.headers())), (status, headers));
        assert_eq!(*response.body(), ResponseBody::Text("{}".to_owned().into()));
    }
}

#[test]
fn caches_are_told_each_header_that_an_answer_depends_on() {
    let mut headers = HeaderMap::new();
    vary_by(&mut headers, "X-Api-Key");
    assert_eq!(headers[VARY], "X-Api-Key");
    vary_by(&mut headers, "Authorization");
    assert_eq!(headers[VARY], "X-Api-Key, Authorization");
}

#[test]
fn what_a_panic_says_is_read_where_it_is_a_text() {
    let panics: [(Box<dyn Any + Send>, &str); 3] = [
        (Box::new("a literal"), "a literal"),
        (Box::new("a text".to_owned()), "a text"),
        (Box::new(7), "of unknown kind"),
    ];
    for (panic, text) in panics {
        assert_eq!(panic_text(&*panic), text);
    }
}

#[test]
fn get_and_head_draw_on_reads_and_all_others_on_writes() {
    let draws =
        [Method::GET, Method::HEAD, Method::POST, Method::DELETE].map(|method| draw(&method));
    assert_eq!(draws, [Draw::Read, Draw::Read, Draw::Write, Draw::Write]);
}
