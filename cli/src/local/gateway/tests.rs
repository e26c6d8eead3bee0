use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use tokio::net::TcpStream;

use super::*;

/// A gateway with these routes: method, path and function.
async fn gateway(
    routes: &[(&str, Option<&str>, &str)],
    functions: impl IntoIterator<Item = (&'static str, Function)>,
) -> Result<Gateway, CliError> {
    let route = |(method, path, function): &(&str, Option<&str>, &str)| Route {
        method: (*method).to_owned(),
        path: path.map(ToOwned::to_owned),
        function: (*function).to_owned(),
    };
    Gateway::start(0, routes.iter().map(route).collect(), &functions.into_iter().collect()).await
}

/// A gateway with one function for everything.
async fn gateway_of(function: Function) -> Gateway {
    gateway(&[("ANY", None, "all")], [("all", function)]).await.expect("a gateway")
}

/// A function that always gives this reply.
fn replying(reply: Value) -> Function {
    Function::new(move |_: Value, _| {
        let reply = reply.clone();
        async { Ok(reply) }
    })
}

/// A function that replies with its event, and with the deadline of its context.
fn echo() -> Function {
    Function::new(|event: Value, context: Context| async move {
        let headers =
            json!({ "content-type": "text/plain", "x-deadline": context.deadline.to_string() });
        Ok(json!({ "statusCode": 201, "headers": headers, "body": event.to_string() }))
    })
}

fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A request, and its reply.
async fn send(
    gateway: &Gateway,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (u16, HeaderMap, Bytes) {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", gateway.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).expect("a request");
    let reply = client().request(request).await.expect("a reply");
    let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
    (status, headers, to_bytes(Body::new(reply.into_body()), usize::MAX).await.expect("a body"))
}

async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let (status, _, body) = send(gateway, "GET", path, &[], "").await;
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

fn told(text: &str) -> String {
    json!({ "message": text }).to_string()
}

#[test]
fn a_pattern_fits_whole_paths_and_gives_its_variables() {
    let pattern = "/product-offerings/{productOfferingId}";
    let parameters = matches(pattern, "/product-offerings/plan-1").expect("match");
    assert_eq!(parameters["productOfferingId"], "plan-1");
    for path in ["/product-offerings", "/product-offerings/", "/product-offerings/a/b", "/x/a"] {
        assert!(matches(pattern, path).is_none(), "{path}");
    }
}

#[tokio::test]
async fn the_most_specific_route_answers() {
    let names = ["default", "plain", "any", "post"];
    let functions = names.map(|name| (name, replying(json!({ "statusCode": 200, "body": name }))));
    let routes = [
        ("POST", Some("/a/{b}"), "post"),
        ("ANY", Some("/a/b"), "plain"),
        ("ANY", Some("/a/{b}"), "any"),
    ];
    let without_default = gateway(&routes, functions.clone()).await.expect("a gateway");
    let routes = [&routes[..], &[("ANY", None, "default")]].concat();
    let gateway = gateway(&routes, functions).await.expect("a gateway");
    for (method, path, name) in [
        ("GET", "/a/b", "plain"),
        ("POST", "/a/b", "plain"),
        ("GET", "/a/c", "any"),
        ("POST", "/a/c", "post"),
        ("GET", "/a/b/c", "default"),
        ("POST", "/", "default"),
    ] {
        let (status, _, body) = send(&gateway, method, path, &[], "").await;
        assert_eq!((status, &body[..]), (200, name.as_bytes()), "{method} {path}");
    }
    assert_eq!(get(&without_default, "/a/c").await, (200, "any".to_owned()));
    let (status, headers, body) = send(&without_default, "GET", "/c", &[], "").await;
    assert_eq!((status, &body[..]), (404, told("Not Found").as_bytes()));
    assert_eq!(headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_route_to_a_function_that_is_not_there_is_refused() {
    let refused = gateway(&[("GET", None, "nobody")], []).await.expect_err("no such function");
    assert_eq!(refused.to_string(), "template.yaml: no function is called nobody");
}

#[tokio::test]
async fn a_browser_is_led_from_the_root_to_the_documentation() {
    let gateway = gateway_of(replying(json!({ "statusCode": 200 }))).await;
    for (method, accepts, expected) in [
        ("GET", Some("text/html,application/xml;q=0.9"), 307),
        ("GET", Some("*/*"), 307),
        ("GET", Some("application/json, */*"), 200),
        ("GET", None, 200),
        ("POST", Some("text/html"), 200),
        ("POST", None, 200),
    ] {
        let accepts = accepts.map(|types| ("accept", types));
        let headers: Vec<_> = accepts.into_iter().collect();
        let (status, headers, _) = send(&gateway, method, "/", &headers, "").await;
        assert_eq!(status, expected, "{method} {accepts:?}");
        let location = headers.get("location").map(|path| path.to_str().expect("ASCII"));
        assert_eq!(location, (expected == 307).then_some("/docs"));
    }
}

#[tokio::test]
async fn a_request_becomes_an_event_of_payload_format_2() {
    let routes = [("POST", Some("/shops/{shop}/items"), "echo"), ("ANY", None, "echo")];
    let gateway = gateway(&routes, [("echo", echo())]).await.expect("a gateway");
    let headers = [("x-one", "1"), ("x-two", "a"), ("x-two", "b, c"), ("user-agent", "test")];
    let path = "/shops/a%20b/items?x=1&y=%20";
    let (status, reply, event) = send(&gateway, "POST", path, &headers, "{\"ä\":1}").await;
    assert_eq!(status, 201);
    assert_eq!(reply["content-type"], "text/plain");
    let mut event: Value = serde_json::from_slice(&event).expect("JSON");
    let context = &mut event["requestContext"];
    let epoch = context["timeEpoch"].take().as_i64().expect("a time");
    let time = Timestamp::from_millisecond(epoch).expect("a time");
    let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
    assert_eq!(context["time"].take(), json!(time));
    assert_eq!(context["requestId"].take().as_str().map(str::len), Some(32));
    // The function has the 29 seconds that the gateway waits.
    let deadline: i64 = reply["x-deadline"].to_str().expect("ASCII").parse().expect("a number");
    assert!(deadline >= epoch + 29_000, "{deadline} after {epoch}");
    let port = event["headers"]["x-forwarded-port"].take();
    assert!(port.as_str().is_some_and(|port| port.parse::<u16>().is_ok()), "{port}");
    let host = gateway.url().replace("http://", "");
    let expected = json!({
        "version": "2.0",
        "routeKey": "POST /shops/{shop}/items",
        "rawPath": "/shops/a b/items",
        "rawQueryString": "x=1&y=%20",
        "headers": {
            "host": host, "user-agent": "test", "x-one": "1", "x-two": "a,b, c", "content-length": "8",
            "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-port": null,
        },
        "requestContext": {
            "accountId": "000000000000", "apiId": "local", "domainName": host, "domainPrefix": "local",
            "http": {
                "method": "POST", "path": "/shops/a b/items", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                "userAgent": "test",
            },
            "requestId": null, "routeKey": "POST /shops/{shop}/items", "stage": "$default", "time": null,
            "timeEpoch": null,
        },
        "pathParameters": { "shop": "a b" },
        "body": "{\"ä\":1}",
        "isBase64Encoded": false,
    });
    assert_eq!(event, expected);

    // What is no text is in Base64, and what is not there is left out.
    let (_, _, event) = send(&gateway, "PUT", "/", &[], vec![0xff, 0]).await;
    let event: Value = serde_json::from_slice(&event).expect("JSON");
    assert_eq!((&event["isBase64Encoded"], &event["body"]), (&json!(true), &json!("/wA=")));
    assert_eq!(event["routeKey"], "$default");
    let (_, _, event) = send(&gateway, "GET", "/", &[], "").await;
    let event: Value = serde_json::from_slice(&event).expect("JSON");
    assert_eq!((&event["isBase64Encoded"], &event["rawQueryString"]), (&json!(false), &json!("")));
    assert_eq!((event.get("body"), event.get("pathParameters")), (None, None));
}

#[tokio::test]
async fn a_reply_in_base64_is_decoded() {
    let reply = json!({ "statusCode": 203, "headers": { "x-a": "b" }, "body": "/wA=", "isBase64Encoded": true });
    let gateway = gateway_of(replying(reply)).await;
    let (status, headers, body) = send(&gateway, "GET", "/x", &[], "").await;
    assert_eq!(
        (status, &headers["x-a"], &body[..]),
        (203, &"b".parse().expect("a value"), &[0xff, 0][..])
    );
}

#[tokio::test]
async fn a_function_that_fails_or_replies_something_else_is_an_internal_server_error() {
    let wrong = [
        json!("text"),
        json!({ "statusCode": 1000 }),
        json!({ "statusCode": 200, "body": "?", "isBase64Encoded": true }),
    ];
    let mut functions: Vec<Function> = wrong.into_iter().map(replying).collect();
    functions.push(Function::new(|_: Value, _| async { Err::<Value, _>("it failed".to_owned()) }));
    functions.push(Function::new(|event: Value, _| async move {
        assert_eq!(event, Value::Null, "this panic is meant");
        Ok(Value::Null)
    }));
    for function in functions {
        let gateway = gateway_of(function).await;
        let answer = get(&gateway, "/x").await;
        assert_eq!(answer, (500, told("Internal Server Error")));
    }
}

#[tokio::test]
async fn the_request_line_and_headers_have_10_240_bytes_at_most() {
    let gateway = gateway_of(replying(json!({ "statusCode": 200 }))).await;
    let line = "GET /abc?d=e HTTP/1.1".len();
    let host = "host".len() + gateway.url().replace("http://", "").len();
    let filled = MAX_HEAD - line - host - "x-fill".len();
    for (length, expected) in [
        (filled, (200, String::new())),
        (filled + 1, (431, told("Request Header Fields Too Large"))),
    ] {
        let fill = "x".repeat(length);
        let headers = [("x-fill", fill.as_str())];
        let (status, _, body) = send(&gateway, "GET", "/abc?d=e", &headers, "").await;
        assert_eq!((status, String::from_utf8(body.to_vec()).expect("UTF-8")), expected);
    }
}

#[tokio::test]
async fn an_event_and_a_reply_have_six_megabytes_at_most() {
    // It replies with the length of its event.
    let measure = Function::new(|event: Value, _| async move {
        Ok(json!({ "statusCode": 200, "body": event.to_string().len().to_string() }))
    });
    let gateway = gateway_of(measure).await;
    let post = async |length: usize| {
        let (status, _, body) = send(&gateway, "POST", "/x", &[], "a".repeat(length)).await;
        (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
    };
    let measured: usize = post(1_000_000).await.1.parse().expect("a length");
    let full = MAX_PAYLOAD - (measured - 1_000_000);
    assert_eq!(post(full).await, (200, MAX_PAYLOAD.to_string()));
    assert_eq!(post(full + 1).await, (413, told("Request Entity Too Large")));
    assert_eq!(post(MAX_PAYLOAD + 1).await, (413, told("Request Entity Too Large")));

    // It replies with as many bytes as the path says.
    let reply = Function::new(|event: Value, _| async move {
        let length = event["rawPath"].as_str().unwrap_or_default().trim_start_matches('/');
        let length: usize = length.parse().map_err(|error| format!("{error}"))?;
        let frame = json!({ "statusCode": 200, "body": "" }).to_string().len();
        Ok(json!({ "statusCode": 200, "body": "a".repeat(length - frame) }))
    });
    let gateway = gateway_of(reply).await;
    let (status, body) = get(&gateway, &format!("/{MAX_PAYLOAD}")).await;
    assert_eq!((status, body.trim_matches('a')), (200, ""));
    let answer = get(&gateway, &format!("/{}", MAX_PAYLOAD + 1)).await;
    assert_eq!(answer, (500, told("Internal Server Error")));
}

#[tokio::test]
async fn a_gateway_that_stops_answers_the_requests_it_has_begun() {
    let (begun, mut is_begun) = watch::channel(false);
    let (release, released) = watch::channel(false);
    let function = Function::new(move |_: Value, _| {
        let (begun, mut released) = (begun.clone(), released.clone());
        async move {
            begun.send_replace(true);
            released.wait_for(|released| *released).await.map_err(|error| error.to_string())?;
            Ok(json!({ "statusCode": 200, "body": "done" }))
        }
    });
    let gateway = gateway_of(function).await;
    let address = gateway.address;
    let uri = format!("{}/x", gateway.url()).parse().expect("a URL");
    let request = tokio::spawn(client().get(uri));
    is_begun.wait_for(|begun| *begun).await.expect("begun");
    let stop = tokio::spawn(gateway.stop());
    // No new connection is accepted any more, and the stop waits.
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!stop.is_finished());
    release.send_replace(true);
    let reply = request.await.expect("a task").expect("a reply");
    assert_eq!(reply.status(), 200);
    stop.await.expect("a stop");
}
