//! Logs: JSON lines on standard output, which Lambda hands to CloudWatch.

use tracing_subscriber::{
    Layer as _, Registry, filter::LevelFilter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Starts JSON logging. The level comes from `LOG_LEVEL`, else from Lambda's own `AWS_LAMBDA_LOG_LEVEL`,
/// else it is `info`. Only this project logs below `warn`: the SDK's own lines could quote requests.
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
        .with_current_span(false)
        .with_span_list(false)
        .with_filter(targets);
    // A second call (a test, say) keeps the first subscriber.
    let _ = Registry::default().with(lines).try_init();
}
