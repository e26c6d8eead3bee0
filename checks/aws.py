"""A stack of its own in the AWS account of the shell: deployed, loaded, compared with `catalog serve`, measured, and
deleted with all that it made. It costs some cents. Without credentials it says so and does nothing."""

import contextlib
import json
import os
import statistics
import tempfile
import time
import uuid

import common
from deployed import Stack, client

REQUESTS = 50


def check():
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    if os.environ.get("AWS_REGION"):
        # boto3 knows only the other name.
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    try:
        identity = boto3.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        print(f"SKIPPED: there are no AWS credentials and region that work (AWS_PROFILE, AWS_REGION): {error}")
        return
    stack = Stack(f"catalog-test-{uuid.uuid4().hex[:8]}", ["--aws"])
    print(f"The stack {stack.name} in the AWS account {identity['Account']}, region {boto3.Session().region_name}.")
    with tempfile.TemporaryDirectory() as folder, common.Processes(folder) as processes:
        try:
            began = time.monotonic()
            settings = "DeletionProtection=false LogRetentionDays=1 Stage=test TracingMode=Active"
            stack.make("deploy", f"PARAMETERS={settings}")
            print(f"deployed in {time.monotonic() - began:.0f} s")
            outputs = stack.outputs()
            stack.load(outputs, folder)
            key = stack.make_key()
            measure(outputs["ApiUrl"], key)
            stack.compare(key, common.serve(processes, folder)["url"])
            stack.jobs(key)
            print(stack.make("smoke").strip())
        finally:
            delete(stack.name)


def measure(url, key):
    """The first request of each function, which starts it, and those after it."""
    events = {path.name.split(".")[0]: path for path in sorted(common.EVENTS.glob("*.json"), reverse=True)}
    for function, path in sorted(events.items()):
        event = json.loads(path.read_text())
        method = event.get("requestContext", {}).get("http", {}).get("method")
        if method != "GET":
            continue
        query = event.get("rawQueryString") or ""
        address = f"{url}{event['rawPath']}{'?' if query else ''}{query}"
        headers = {"X-Api-Key": key, "Authorization": f"Bearer {key}"}
        times = []
        for _ in range(REQUESTS):
            began = time.monotonic()
            common.http("GET", address, headers=headers)
            times.append((time.monotonic() - began) * 1e3)
        warm = sorted(times[1:])
        print(
            f"{function:<24} first {times[0]:6.0f} ms, then p50 {statistics.median(warm):5.0f} ms, "
            f"p99 {warm[int(len(warm) * 0.99)]:5.0f} ms"
        )


def delete(name):
    """The stack, and what it keeps: its tables, its bucket with every version, SAM's artifacts."""
    import boto3

    from botocore.exceptions import ClientError

    cloudformation, bucket = client("cloudformation"), None
    with contextlib.suppress(ClientError):
        found = cloudformation.describe_stack_resource(StackName=name, LogicalResourceId="CatalogBucket")
        bucket = found["StackResourceDetail"].get("PhysicalResourceId")
    cloudformation.delete_stack(StackName=name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=name)
    if bucket:
        with contextlib.suppress(ClientError):
            boto3.resource("s3").Bucket(bucket).object_versions.delete()
            client("s3").delete_bucket(Bucket=bucket)
    with contextlib.suppress(ClientError):
        managed = cloudformation.describe_stacks(StackName="aws-sam-cli-managed-default")["Stacks"][0]["Outputs"]
        artifacts = next(output["OutputValue"] for output in managed if output["OutputKey"] == "SourceBucket")
        boto3.resource("s3").Bucket(artifacts).object_versions.filter(Prefix=f"{name}/").delete()
    dynamodb = client("dynamodb")
    for page in dynamodb.get_paginator("list_tables").paginate():
        for table in page["TableNames"]:
            if table.startswith(f"{name}-"):
                dynamodb.delete_table(TableName=table)
    print(f"deleted: {name}, its tables and its bucket")


if __name__ == "__main__":
    common.main(check)
