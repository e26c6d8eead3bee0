//! Logs and metrics: JSON lines on standard output, which Lambda sends to CloudWatch.
//!
//! Metrics are log lines, too, in CloudWatch's embedded metric format: they need neither calls nor an agent,
//! and delay no request. They are written only if `METRICS_NAMESPACE` is set.

use std::{io::Write, sync::OnceLock, time::Duration};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::Collector;
use tracing_subscriber::{
    Layer as _, Registry, filter::LevelFilter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::imports::{Counts, ImportCost};

/// Starts JSON logging, and metrics if they have a namespace. The level is `LOG_LEVEL`, or else Lambda's own
/// `AWS_LAMBDA_LOG_LEVEL`, or else `info`. Only this project logs below `warn`: the SDK's log lines could
/// quote requests.
pub fn init() {
    let wanted = ["LOG_LEVEL", "AWS_LAMBDA_LOG_LEVEL"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse::<LevelFilter>().ok())
        .unwrap_or(LevelFilter::INFO);
    let targets = tracing_subscriber::filter::Targets::new()
        .with_default(wanted.min(LevelFilter::WARN))
        .with_target("serverless_catalog", wanted);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_filter(targets);
    // A second call (from a test, say) keeps the first subscriber.
    let _ = Registry::default().with(lines).try_init();
    if let Ok(namespace) = std::env::var("METRICS_NAMESPACE")
        && !namespace.is_empty()
    {
        publish(namespace);
    }
}

static METRICS: OnceLock<&'static Collector> = OnceLock::new();

/// Starts collecting metrics for a namespace.
fn publish(namespace: String) {
    let collector = metrics_cloudwatch_embedded::Builder::new().cloudwatch_namespace(namespace);
    // A second call keeps the first collector.
    let Ok(collector) = collector.init() else { return };
    let _ = METRICS.set(collector);
    describe_histogram!("Latency", Unit::Milliseconds, "From the event to the reply");
    describe_histogram!("Items", Unit::Count, "Things in the reply");
    describe_histogram!("ReadUnits", Unit::Count, "Read units consumed");
    describe_histogram!("WriteUnits", Unit::Count, "Write units consumed");
    describe_counter!("Requests", Unit::Count, "Requests answered");
    describe_counter!("ServerErrors", Unit::Count, "Requests answered with 5xx");
    describe_counter!("ColdStarts", Unit::Count, "First requests of an instance");
    describe_counter!("Imports", Unit::Count, "Imports that ended");
    describe_counter!("ImportsFailed", Unit::Count, "Imports whose source is unreadable");
    describe_counter!("MessagesRetried", Unit::Count, "Messages to be delivered again");
    describe_counter!("ChangesRecorded", Unit::Count, "Changes appended to the journal");
    describe_histogram!("ImportDuration", Unit::Milliseconds, "A run of an import");
    for outcome in ["Created", "Updated", "Unchanged", "Stale", "Deleted", "Failed"] {
        describe_counter!(format!("Records{outcome}"), Unit::Count, "Records of imports");
    }
}

/// The metrics of one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestMeasures<'a> {
    /// The route as API Gateway writes it: `ANY /product-offerings`.
    pub route: &'a str,
    /// Whether the reply is a 5xx.
    pub server_error: bool,
    /// The time from event to reply.
    pub millis: f64,
    /// The number of items in the reply.
    pub items: usize,
    pub read_units: f64,
    pub write_units: f64,
    /// Whether this is the first request of the execution environment.
    pub cold_start: bool,
}

impl RequestMeasures<'_> {
    pub fn publish(self) {
        print_noted(|| self.note());
    }

    fn note(self) {
        let route = || self.route.to_owned();
        counter!("Requests", "Route" => route()).increment(1);
        counter!("ServerErrors", "Route" => route()).increment(self.server_error.into());
        counter!("ColdStarts", "Route" => route()).increment(self.cold_start.into());
        histogram!("Latency", "Route" => route()).record(self.millis);
        #[allow(clippy::cast_precision_loss, reason = "a reply has no 2^52 items")]
        histogram!("Items", "Route" => route()).record(self.items as f64);
        histogram!("ReadUnits", "Route" => route()).record(self.read_units);
        if self.write_units > 0.0 {
            histogram!("WriteUnits", "Route" => route()).record(self.write_units);
        }
    }
}

/// The metrics of one run of an import.
#[derive(Clone, Copy, Debug)]
pub struct ImportMeasures {
    /// Whether the job ended with this run.
    pub ended: bool,
    /// Whether its source can never be read to its end.
    pub failed: bool,
    /// The outcomes of this run's lines.
    pub counts: Counts,
    /// The capacity that this run consumed.
    pub cost: ImportCost,
    pub elapsed: Duration,
}

impl ImportMeasures {
    pub fn publish(self) {
        print_noted(|| self.note());
    }

    fn note(self) {
        const FUNCTION: (&str, &str) = ("Function", "import-catalog");
        let Counts { created, updated, unchanged, stale, deleted, failed } = self.counts;
        let counted = [
            ("Imports", self.ended.into()),
            ("ImportsFailed", self.failed.into()),
            ("RecordsCreated", created),
            ("RecordsUpdated", updated),
            ("RecordsUnchanged", unchanged),
            ("RecordsStale", stale),
            ("RecordsDeleted", deleted),
            ("RecordsFailed", failed),
        ];
        for (name, count) in counted {
            counter!(name, &[FUNCTION]).increment(count);
        }
        histogram!("ReadUnits", &[FUNCTION]).record(self.cost.read_units);
        histogram!("WriteUnits", &[FUNCTION]).record(self.cost.write_units);
        histogram!("ImportDuration", &[FUNCTION]).record(self.elapsed.as_secs_f64() * 1e3);
    }
}

/// Publishes that a batch of changes was recorded.
pub fn changes_recorded(changes: u64, write_units: f64) {
    const FUNCTION: (&str, &str) = ("Function", "record-changes");
    print_noted(|| {
        counter!("ChangesRecorded", &[FUNCTION]).increment(changes);
        histogram!("WriteUnits", &[FUNCTION]).record(write_units);
    });
}

/// Publishes that a message must be delivered again.
pub fn message_retried() {
    print_noted(|| counter!("MessagesRetried", "Function" => "import-catalog").increment(1));
}

/// Records metrics, if they are collected, and prints them at once, so that no other line comes in between.
fn print_noted(note: impl FnOnce()) {
    let Some(collector) = METRICS.get() else { return };
    note();
    let mut lines = Vec::new();
    // A write to memory cannot fail, and no request fails because its metrics were not printed.
    let _ = collector.flush(&mut lines);
    let _ = std::io::stdout().lock().write_all(&lines);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// All in one test, because a process has only one collector.
    #[test]
    fn metrics_are_lines_that_cloudwatch_understands() {
        publish("Test".to_owned());
        RequestMeasures {
            route: "ANY /product-offerings",
            server_error: false,
            millis: 12.5,
            items: 100,
            read_units: 17.5,
            write_units: 0.0,
            cold_start: true,
        }
        .note();
        let lines = written();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["Route"], "ANY /product-offerings");
        for (name, value) in [
            ("Requests", json!(1)),
            ("ColdStarts", json!(1)),
            ("Latency", json!([12.5])),
            ("Items", json!([100.0])),
            ("ReadUnits", json!([17.5])),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        let told = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(told["Namespace"], "Test");
        assert_eq!(told["Dimensions"], json!([["Route"]]));
        let units: Vec<&Value> = told["Metrics"].as_array().expect("metrics").iter().collect();
        assert!(units.contains(&&json!({"Name": "Latency", "Unit": "Milliseconds"})), "{told}");
        assert!(!units.iter().any(|unit| unit["Name"] == "ServerErrors"), "none is not told");
        assert!(line.get("WriteUnits").is_none(), "a read consumes none");

        RequestMeasures {
            route: "POST /api/v1/products",
            server_error: true,
            millis: 1.0,
            items: 0,
            read_units: 0.0,
            write_units: 2.5,
            cold_start: false,
        }
        .note();
        let lines = written();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((&line["Requests"], &line["ServerErrors"]), (&json!(1), &json!(1)));
        assert_eq!((&line["WriteUnits"], line.get("ColdStarts")), (&json!([2.5]), None));

        let counts =
            Counts { created: 3, updated: 4, unchanged: 5, stale: 6, deleted: 7, failed: 1 };
        let cost = ImportCost { read_units: 2.0, write_units: 9.0 };
        let elapsed = Duration::from_millis(1_500);
        ImportMeasures { ended: true, failed: false, counts, cost, elapsed }.note();
        let lines = written();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        for (name, value) in [
            ("Function", json!("import-catalog")),
            ("Imports", json!(1)),
            ("RecordsCreated", json!(3)),
            ("RecordsUpdated", json!(4)),
            ("RecordsUnchanged", json!(5)),
            ("RecordsStale", json!(6)),
            ("RecordsDeleted", json!(7)),
            ("RecordsFailed", json!(1)),
            ("ReadUnits", json!([2.0])),
            ("WriteUnits", json!([9.0])),
            ("ImportDuration", json!([1_500.0])),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line.get("ImportsFailed"), None);
        assert!(written().is_empty(), "nothing is told twice");
    }

    fn written() -> Vec<Value> {
        let mut bytes = Vec::new();
        METRICS.get().expect("a collector").flush(&mut bytes).expect("memory");
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
    /// The variable that tells a process of this test what it is for.
    const PRINTS: &str = "PRINTS_METRICS";

    /// Another process, because what is printed does not come back to the one that has printed it.
    #[test]
    fn what_is_measured_is_printed_at_once() {
        if std::env::var_os(PRINTS).is_some() {
            return measure();
        }
        let test = "telemetry::tests::what_is_measured_is_printed_at_once";
        let program = std::env::current_exe().expect("a program");
        let mut command = std::process::Command::new(program);
        let output = command
            .args(["--exact", test, "--nocapture", "--test-threads=2"])
            .env(PRINTS, "1")
            .output();
        let printed = String::from_utf8(output.expect("ended").stdout).expect("UTF-8");
        let lines = printed.lines().filter_map(|line| serde_json::from_str(line).ok());
        let lines: Vec<Value> = lines.collect();
        let expected = [
            json!({ "Route": "ANY /x", "Requests": 1, "Latency": [1.0], "Items": [0.0], "ReadUnits": [0.5] }),
            json!({ "Function": "import-catalog", "Imports": 1, "ReadUnits": [0.0],
                    "WriteUnits": [0.0], "ImportDuration": [0.0] }),
            json!({ "Function": "record-changes", "ChangesRecorded": 3, "WriteUnits": [1.5] }),
            json!({ "Function": "import-catalog", "MessagesRetried": 1 }),
        ];
        let without_format = |mut line: Value| {
            line.as_object_mut().and_then(|line| line.remove("_aws")).expect("a metric");
            line
        };
        assert_eq!(lines.into_iter().map(without_format).collect::<Vec<_>>(), expected);
    }

    fn measure() {
        // Nothing is collected yet.
        message_retried();
        publish("Test".to_owned());
        RequestMeasures {
            route: "ANY /x",
            server_error: false,
            millis: 1.0,
            items: 0,
            read_units: 0.5,
            write_units: 0.0,
            cold_start: false,
        }
        .publish();
        let (counts, cost) = (Counts::default(), ImportCost::default());
        let elapsed = Duration::ZERO;
        ImportMeasures { ended: true, failed: false, counts, cost, elapsed }.publish();
        changes_recorded(3, 1.5);
        message_retried();
    }
}
