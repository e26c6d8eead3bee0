"""Runs every event of events/ through the release binaries, as Lambda would: they poll the runtime API
of `cargo lambda watch`, over the tables and the bucket of a local catalog with the sample data."""

import json
import pathlib
import shutil
import tempfile

import common

FUNCTIONS = sorted(path.name for path in common.lambdas().glob("*") if (path / "bootstrap").exists())


# The function that logs only what does not go well.
WITHOUT_LINES = "get-offering"


def environment(folder):
    """What the template gives a function, with local endpoints."""
    text = (pathlib.Path(folder) / "catalog" / "functions.env").read_text()
    variables = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {
        **variables,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "eu-west-1",
        "LOG_LEVEL": "info",
        "METRICS_NAMESPACE": "ServerlessCatalog/check",
    }


def check():
    how = "build the functions: make build"
    common.need(common.lambdas(), how)
    expected = json.loads((common.ROOT / "checks" / "events.json").read_text())
    events = {**expected["status"], **expected["returned"], **expected["recorded"]}
    missing = {event.split(".")[0] for event in events} - set(FUNCTIONS)
    if missing:
        raise common.Failed(f"no binary of {', '.join(sorted(missing))}; {how}")
    common.need(common.TOOLS / "build" / "bin" / "cargo-lambda", how)

    with tempfile.TemporaryDirectory() as folder, common.Processes(folder) as processes:
        common.serve(processes, folder)
        bucket = pathlib.Path(folder) / "catalog" / "objects" / "catalog"
        (bucket / "imports" / "ACME").mkdir(parents=True, exist_ok=True)
        sample = common.ROOT / "data" / "sample" / "products.csv"
        shutil.copy(sample, bucket / "imports" / "ACME" / "sample products.csv")

        port = common.free_port()
        watch = [common.TOOLS / "build" / "bin" / "cargo-lambda", "lambda", "watch", "--only-lambda-apis"]
        processes.start("watch", [*watch, "-A", "127.0.0.1", "-P", port])
        common.wait_for("the runtime API", lambda: common.listens(port))
        variables = environment(folder)
        for function in FUNCTIONS:
            processes.start(
                function,
                [common.lambdas() / function / "bootstrap"],
                {
                    **variables,
                    "AWS_LAMBDA_RUNTIME_API": f"http://127.0.0.1:{port}/.rt/{function}",
                    "AWS_LAMBDA_FUNCTION_NAME": function,
                    "AWS_LAMBDA_FUNCTION_VERSION": "1",
                    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
                    "REQUEST_LOG_PERCENT": "0" if function == WITHOUT_LINES else "100",
                },
            )
        for name in sorted(events):
            answer(port, name, expected)
        for function in FUNCTIONS:
            statuses = [status for name, status in expected["status"].items() if name.startswith(f"{function}.")]
            logged(processes.log(function), function, statuses)
    print(f"{len(events)} events through {len(FUNCTIONS)} release binaries, each answered as it should be.")


def answer(port, name, expected):
    function = name.split(".")[0]
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/{function}/invocations"
    event = (common.EVENTS / name).read_bytes()
    _, _, body = common.http("POST", url, event, {"Content-Type": "application/json"})
    try:
        reply = json.loads(body)
    except ValueError:
        raise common.Failed(f"{name}: {body[:500]!r}") from None
    if name in expected["status"]:
        told, right = reply.get("statusCode"), expected["status"][name]
    elif name in expected["recorded"]:
        # Lambda takes a reply without a state for a failure.
        told, right = int("state" in reply), expected["recorded"][name]
    else:
        told, right = len(reply.get("batchItemFailures", [0] * 99)), expected["returned"][name]
    print(f"{'ok' if told == right else 'WRONG':<6}{told:>4}  {name}")
    if told != right:
        raise common.Failed(f"{name}: {right} expected; {body[:2000]!r}")


def logged(text, function, statuses):
    """Every line is JSON; there are a line a request and its metrics, and no key in any. With REQUEST_LOG_PERCENT=0 only
    what did not go well has a line, and all of them have metrics."""
    if common.DEMO_KEY in text:
        raise common.Failed(f"{function} logs API keys")
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except ValueError as error:
        raise common.Failed(f"{function} logs what is no JSON: {error}\n{text[:2000]}") from None
    messages = {line.get("message") for line in lines}
    if not messages & {"request", "import", "changes", "message is to be delivered again"}:
        raise common.Failed(f"{function} logs no line a request: {text[:2000]}")
    metrics = [line for line in lines if "_aws" in line]
    if len(metrics) < max(len(statuses), 1):
        raise common.Failed(f"{function} writes metrics of {len(metrics)} of {len(statuses)} requests: {text[:2000]}")
    told = sorted(line["status"] for line in lines if line.get("message") == "request")
    wanted = sorted(status for status in statuses if status >= 400 or function != WITHOUT_LINES)
    if told != wanted:
        raise common.Failed(f"{function} logs the requests {told}, and {wanted} were expected: {text[:2000]}")


if __name__ == "__main__":
    common.main(check)
