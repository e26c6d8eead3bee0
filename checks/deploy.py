"""Deploys template.yaml into a local AWS emulator, by the targets that a user types: a first deployment that
fails, the one after it, an update, a rollback. Loads the sample through S3, EventBridge and SQS; invokes every
function; compares its answers with those of `catalog serve`; and runs the smoke test."""

import base64
import contextlib
import datetime
import http.server
import json
import os
import pathlib
import re
import tempfile
import threading
import uuid

import common
import replies
from deployed import Stack, client

STACK = "check"
TABLES_WITH_STREAM = ("offerings", "promotions", "partner-offerings", "networks", "products")
REGION = "us-east-1"
MINISTACK = common.TOOLS / "emulator" / "bin" / "ministack"


def check():
    common.need(common.lambdas() / "import-catalog" / "bootstrap", "build the functions: make build")
    common.need(MINISTACK, "install the tools: make test-deploy does")
    with tempfile.TemporaryDirectory() as folder, common.Processes(folder) as processes:
        port = common.free_port()
        endpoint = f"http://127.0.0.1:{port}"
        emulator = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "127.0.0.1",
            "STATE_DIR": f"{folder}/state",
            "S3_DATA_DIR": f"{folder}/s3",
        }
        aws = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "SAM_CLI_TELEMETRY": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        os.environ.update(aws)
        os.environ.pop("AWS_DEFAULT_REGION", None)
        processes.start("ministack", [MINISTACK], {**emulator, **aws})
        common.wait_for("the emulator", lambda: common.listens(port))
        template = emulated(folder)
        stack = Stack(STACK, ["--endpoint-url", endpoint])
        fail_halfway(stack, template)
        outputs = deploy(stack, template, "RELEASE=first")
        print(f"deployed: {len(outputs)} outputs")
        stack.load(outputs, folder)
        record_changes()
        here = common.serve(processes, folder)["url"]
        key = stack.make_key()
        stack.compare(key, here)
        stack.jobs(key)
        update_and_roll_back(stack, template, key)
        smoke(stack, outputs)


def emulated(folder):
    """The template but for what the emulator does not know: alarms over metric math."""
    text = (common.ROOT / "template.yaml").read_text()
    kept, left_out = [], []
    for block in re.split(r"(?m)^(?=  \w+:$)", text):
        if "Type: AWS::CloudWatch::Alarm" in block and "\n      Metrics:" in block and "IsGradual" not in block:
            left_out.append(block.split(":")[0].strip())
            # Comments below a resource belong to the next one.
            kept.append("".join(re.findall(r"(?m)^  #.*\n", block)))
        else:
            kept.append(block)
    print(f"left out, as the emulator knows no metric math: {', '.join(left_out)}")
    path = pathlib.Path(folder) / "template.yaml"
    path.write_text("".join(kept))
    return path


def fail_halfway(stack, template):
    """A resource in the way: the first deployment fails, and leaves nothing that the next one stumbles over."""
    client("events").create_event_bus(Name=STACK)
    try:
        stack.make("deploy", f"TEMPLATE={template}")
    except common.Failed:
        pass
    else:
        raise common.Failed("the deployment did not fail, with an event bus of its name in the way")
    tables = [name for name in client("dynamodb").list_tables()["TableNames"] if name.startswith(STACK)]
    if tables:
        raise common.Failed(f"a first deployment that failed left {tables}")
    client("events").delete_event_bus(Name=STACK)
    print("failed halfway, as it should; no table is left")


def deploy(stack, template, *more):
    stack.make("deploy", f"TEMPLATE={template}", *more)
    return deployed(stack)


def deployed(stack):
    """What the stack is after a deployment; its outputs."""
    outputs = stack.outputs()
    protected = client("dynamodb").describe_table(TableName=f"{STACK}-offerings")["Table"]
    if not protected.get("DeletionProtectionEnabled"):
        raise common.Failed("the tables are not protected against deletion")
    # The emulator keeps a parameter's number as the text it came as, and stumbles over it.
    mappings = client("lambda").list_event_source_mappings()["EventSourceMappings"]
    for mapping in mappings:
        if not mapping["FunctionArn"].endswith(":live"):
            raise common.Failed(f"messages go to {mapping['FunctionArn']}, and not to the alias")
        # Streams have none.
        if "ScalingConfig" in mapping:
            concurrency = {"MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])}
            client("lambda").update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=concurrency)
    return outputs


def record_changes():
    """What event source mappings do in AWS: those of the emulator send no window and no id of a shard. Its streams are read
    from their beginning, and the deployed function gets each batch as Lambda would send it."""
    streams, recorded = client("dynamodbstreams"), 0
    for table in TABLES_WITH_STREAM:
        for stream in streams.list_streams(TableName=f"{STACK}-{table}")["Streams"]:
            arn = stream["StreamArn"]
            for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
                recorded += record_shard(streams, arn, shard["ShardId"])
    print(f"recorded {recorded} stream records")
    if recorded == 0:
        raise common.Failed("the streams of the tables are empty")


def record_shard(streams, arn, shard):
    kind = {"ShardIteratorType": "TRIM_HORIZON"}
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, **kind)["ShardIterator"]
    recorded = 0
    while iterator:
        page = streams.get_records(ShardIterator=iterator, Limit=500)
        records, iterator = page["Records"], page.get("NextShardIterator")
        if not records:
            break
        now = datetime.datetime.now(datetime.UTC)
        window = {"start": now.isoformat(), "end": (now + datetime.timedelta(minutes=15)).isoformat()}
        event = {
            "Records": [{**record, "eventSourceARN": arn} for record in records],
            "window": window,
            "state": {},
            "shardId": shard,
            "eventSourceARN": arn,
            "isFinalInvokeForWindow": False,
            "isWindowTerminatedEarly": False,
        }
        reply = client("lambda").invoke(
            FunctionName=f"{STACK}-record-changes", Qualifier="live", Payload=json.dumps(event, default=plain).encode()
        )
        payload = reply["Payload"].read().decode()
        if "FunctionError" in reply or "errorMessage" in payload:
            raise common.Failed(f"record-changes: {payload[:2000]}")
        recorded += len(records)
    return recorded


def plain(value):
    """What JSON has no type for, as events of Lambda have it."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return base64.b64encode(value).decode()


def update_and_roll_back(stack, template, key):
    """A new release, and the one before it again: other versions behind the alias, the same tables."""
    def version():
        return client("lambda").get_alias(FunctionName=f"{STACK}-list-products", Name="live")["FunctionVersion"]

    def answers(event_name):
        event = (common.EVENTS / event_name).read_text().replace(common.DEMO_KEY, key)
        return replies.comparable(stack.invoke(event_name.split(".")[0], event))

    def body():
        return client("cloudformation").get_template(StackName=STACK)["TemplateBody"]

    events = ("list-products.json", "list-offerings.json", "get-offering.json")
    before, answered = version(), [answers(name) for name in events]
    text = template.read_text()
    template.write_text(text.replace("GET /api/v1/products, and", "The second release, GET /api/v1/products, and"))
    deploy(stack, template, "PARAMETERS=LogLevel=debug", "RELEASE=second")
    if version() == before or "The second release" not in json.dumps(body(), default=str):
        raise common.Failed("the second release is not what runs")
    if [answers(name) for name in events] != answered:
        raise common.Failed("after an update the functions answer differently")
    found = [line.split()[0] for line in stack.make("releases").splitlines()]
    if found != ["second", "first"]:
        raise common.Failed(f"the releases kept are {found}")
    second = version()
    stack.make("rollback", "COMMIT=first")
    deployed(stack)
    if version() in (before, second) or "The second release" in json.dumps(body(), default=str):
        raise common.Failed("the first release does not run again")
    if [answers(name) for name in events] != answered:
        raise common.Failed("after a rollback the functions answer differently")
    print(f"updated from version {before} to {second}, rolled back by version {version()}; the data is as it was")


class Bridge(http.server.BaseHTTPRequestHandler):
    """An HTTP API before the deployed functions: the emulator has none of a SAM template."""

    routes = []
    stack = None
    protocol_version = "HTTP/1.1"

    def answer(self):
        path, _, query = self.path.partition("?")
        for method, pattern, function in self.routes:
            names = re.findall(r"{(\w+)}", pattern)
            found = re.fullmatch(re.sub(r"{\w+}", "([^/]+)", pattern), path)
            if found and method in ("ANY", self.command):
                break
        else:
            raise common.Failed(f"no route for {path}")
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        request = {"method": self.command, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
        event = {
            "version": "2.0",
            "routeKey": f"{method} {pattern}",
            "rawPath": path,
            "rawQueryString": query,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "pathParameters": dict(zip(names, found.groups())),
            "requestContext": {
                "http": {**request, "userAgent": "check"},
                "requestId": uuid.uuid4().hex,
                "stage": "$default",
                "timeEpoch": 0,
            },
            "body": body or None,
            "isBase64Encoded": False,
        }
        reply = self.stack.invoke(function, json.dumps(event))
        content = (reply.get("body") or "").encode()
        content = base64.b64decode(content) if reply.get("isBase64Encoded") else content
        self.send_response(reply["statusCode"])
        for name, value in reply["headers"].items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def bridge(stack):
    from samcli.yamlhelper import yaml_parse

    Bridge.stack = stack
    resources = yaml_parse((common.ROOT / "template.yaml").read_text())["Resources"].values()
    for function in (resource["Properties"] for resource in resources if resource["Type"].endswith("::Function")):
        name = function["CodeUri"].rstrip("/").rsplit("/", 1)[1]
        for event in function.get("Events", {}).values():
            if "Path" in event["Properties"]:
                Bridge.routes.append((event["Properties"]["Method"], event["Properties"]["Path"], name))
    # The method of a route counts before ANY.
    Bridge.routes.sort(key=lambda route: route[0] == "ANY")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bridge) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def smoke(stack, outputs):
    with bridge(stack) as url:
        told = stack.catalog("smoke", "--url", url, "--bucket", outputs["CatalogBucketName"])
    print(told.strip())


if __name__ == "__main__":
    common.main(check)
