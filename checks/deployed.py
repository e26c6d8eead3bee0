"""What is done with a deployed stack, in the emulator or in AWS: it is loaded with the sample through S3, EventBridge
and SQS, and its functions are invoked and compared with `catalog serve`."""

import gzip
import json
import os
import pathlib

import common
import replies

COUNTRIES = ("AO", "GH")
# A page of changes: which are on it depends on the order in which files were imported.
CHANGES = "list-changes.json"
# Of networks not all are loaded.
KINDS_OF_CHANGES = "offering,promotion,partnerOffering,product"
ALL_COUNTRIES = ("list-networks.all.json", "list-networks.countries.json")
ACCOUNT = "ACME"
PERMISSIONS = (
    "offerings.read,partners.read,airtime.read,products.read,products.write,changes.read,imports.write,exports.read"
)
# Their replies have ids and links of their own, or list what only one of the two has.
JOBS = ("manage-imports.json", "manage-imports.upload.json", "manage-imports.list.json", "manage-exports.json")


def client(service):
    import boto3  # beside the SAM CLI

    return boto3.client(service, region_name=os.environ.get("AWS_REGION"))


class Stack:
    """A deployed stack, and where `catalog` finds it."""

    def __init__(self, name, where):
        self.name = name
        self.where = where

    def outputs(self):
        stack = client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        if not stack["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
            raise common.Failed(f"the stack is {stack['StackStatus']}")
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def make(self, target, *more):
        command = ["make", "--silent", "--no-print-directory", target, f"STACK={self.name}"]
        return common.run([*command, *more])

    def catalog(self, *arguments):
        return common.run([common.CATALOG, *arguments, *self.where, "--table-prefix", self.name])

    def load(self, outputs, folder):
        """The sample of an account: a file a way in. No two of them have the same product, so that products are as new as
        their file, whichever comes first."""
        sample = common.ROOT / "data" / "sample"
        s3, sqs = client("s3"), client("sqs")
        bucket, queue = outputs["CatalogBucketName"], outputs["ImportQueueUrl"]
        # A thousand networks with their bundles take the emulator minutes; two countries and all rates do not.
        packed = pathlib.Path(folder) / "networks.ndjson.gz"
        with open(sample / "acme-networks.ndjson") as plain, gzip.open(packed, "wt") as file:
            for line in plain:
                if json.loads(line).get("country_code", "GH") in COUNTRIES:
                    file.write(line)
        # S3, by its events.
        for name, path in [
            ("offerings.ndjson", sample / "acme.ndjson"),
            ("networks.ndjson.gz", packed),
            ("acme products.ndjson", sample / "acme-products.ndjson"),
        ]:
            s3.upload_file(str(path), bucket, f"imports/{ACCOUNT}/{name}")
        # EventBridge, with records in its detail: the first partner offering. SQS, as plain records: the others.
        first, *others = (sample / "acme-partners.ndjson").read_text().splitlines()
        attribute = {"account": {"DataType": "String", "StringValue": ACCOUNT}}
        sqs.send_message(QueueUrl=queue, MessageBody="\n".join(others), MessageAttributes=attribute)
        detail = json.dumps({"account": ACCOUNT, "records": [json.loads(first)]})
        event = {"EventBusName": outputs["ImportBusName"], "DetailType": "catalog.import", "Detail": detail}
        # Of a source that is not known it is dropped, and so is one on the default bus.
        wrong = json.dumps({"account": "STRANGER", "records": [json.loads(first)]})
        client("events").put_events(Entries=[
            {**event, "Source": "stranger", "Detail": wrong},
            {**event, "Source": "catalog", "Detail": wrong, "EventBusName": "default"},
            {**event, "Source": "catalog"},
        ])

        def imports():
            try:
                listed = self.catalog("imports", "list", "--account", ACCOUNT, "--json")
            except common.Failed:
                # The emulator is one slow process: while it writes, it may not answer in time.
                return None
            jobs = [json.loads(line) for line in listed.splitlines() if line.startswith("{")]
            return jobs if sum(job["status"] == "done" for job in jobs) >= 5 else None

        for job in common.wait_for("five imports", imports, seconds=300):
            counts = job["counts"]
            print(f"imported: {job['source']}: {counts['created']} created, {counts['failed']} refused")
            if counts["failed"]:
                raise common.Failed(f"{job['source']}: refused lines: {counts}")
        reports = s3.list_objects_v2(Bucket=bucket, Prefix=f"reports/{ACCOUNT}/").get("Contents", [])
        if len(reports) < 5:
            raise common.Failed(f"{len(reports)} reports, and 5 expected")
        strangers = self.catalog("imports", "list", "--account", "STRANGER", "--json")
        if strangers.strip():
            raise common.Failed(f"what strangers sent was imported: {strangers}")

    def make_key(self):
        made = self.catalog("keys", "create", "--account", ACCOUNT, "--permissions", PERMISSIONS, "--json")
        return json.loads(made.splitlines()[-1])["key"]

    def compare(self, key, here):
        """Every event that is answered with 200: the deployed function's reply is that of `serve`."""
        expected = json.loads((common.ROOT / "checks" / "events.json").read_text())["status"]
        compared = 0
        for event_name, status in sorted(expected.items()):
            binary = event_name.split(".")[0]
            text = (common.EVENTS / event_name).read_text()
            theirs = self.invoke(binary, text.replace(common.DEMO_KEY, key))
            if theirs["statusCode"] != status:
                raise common.Failed(f"{event_name}: {status} expected: {json.dumps(theirs)[:2000]}")
            if event_name == CHANGES:
                self.compare_changes(json.loads(text), key, here)
                compared += 1
                continue
            if event_name in JOBS:
                print(f"ok    {status}  {event_name}")
                continue
            if event_name in ALL_COUNTRIES:
                print(f"ok    {status}  {event_name} (lists what was not loaded)")
                continue
            replies.same(event_name, theirs, replies.ask(here, json.loads(text)))
            compared += 1
            print(f"same  {status}  {event_name}")
        print(f"{compared} events, answered by the deployed functions as by `catalog serve`.")

    def compare_changes(self, event, key, here):
        """All changes, read page by page: a copy made of them is the same."""
        ours = copied(lambda event: replies.ask(here, event), event)
        own = json.loads(json.dumps(event).replace(common.DEMO_KEY, key))

        def read():
            theirs = copied(lambda event: self.invoke("list-changes", json.dumps(event)), own)
            return theirs if len(theirs) >= len(ours) else None

        # They are recorded a moment after the write.
        theirs = common.wait_for(f"{len(ours)} records that changed", read, seconds=120)
        if theirs != ours:
            different = [name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)]
            raise common.Failed(f"{CHANGES}: other changes: {different[:20]}")
        print(f"same  200  {CHANGES}: a copy of {len(ours)} records")

    def jobs(self, key):
        """Imports and exports over HTTPS, with nothing but a key."""

        def answer(event_name, change):
            event = json.loads((common.EVENTS / event_name).read_text().replace(common.DEMO_KEY, key))
            event["headers"].pop("idempotency-key", None)
            change(event)
            reply = self.invoke(event_name.split(".")[0], json.dumps(event))
            return reply["statusCode"], replies.body(reply)

        def ended(event_name, parameter, job):
            def read():
                def change(event):
                    event["pathParameters"] = {parameter: job}

                status, state = answer(event_name, change)
                if status != 200:
                    raise common.Failed(f"{event_name}: {status} {state}")
                return state if state["status"] not in ("waiting", "running") else None

            state = common.wait_for(f"the end of {job}", read, seconds=300)
            if state["status"] != "done":
                raise common.Failed(f"{event_name}: {state}")
            return state

        _, inline = answer("manage-imports.json", lambda event: None)
        counts = ended("manage-imports.unknown.json", "importId", inline["importId"])["counts"]
        print(f"imported over HTTPS, in the body: {counts}")
        rows = "".join(json.dumps({"kind": "product", "sku": f"UP-{n}", "name": "n"}) + "\n" for n in range(500))
        content = gzip.compress(rows.encode())
        announced = {"upload": {"format": "ndjson", "compression": "gzip", "length": len(content)}}
        _, upload = answer("manage-imports.upload.json", lambda event: event.update(body=json.dumps(announced)))
        status, _, body = common.http("PUT", upload["uploadUrl"], content, upload["uploadHeaders"])
        if status != 200:
            raise common.Failed(f"the upload got {status}: {body[:500]}")
        counts = ended("manage-imports.unknown.json", "importId", upload["importId"])["counts"]
        if counts["created"] + counts["unchanged"] != 500:
            raise common.Failed(f"of 500 rows: {counts}")
        print(f"imported over HTTPS, uploaded: {counts}")
        _, requested = answer("manage-exports.json", lambda event: event.update(body="{}"))
        state = ended("manage-exports.unknown.json", "exportId", requested["exportId"])
        status, _, content = common.http("GET", state["downloadUrl"], None, {})
        lines = gzip.decompress(content).decode().splitlines()
        if status != 200 or len(lines) != state["records"]:
            raise common.Failed(f"the download got {status}, {len(lines)} of {state['records']} records")
        print(f"exported over HTTPS: {len(lines)} records")

    def invoke(self, function, event):
        reply = client("lambda").invoke(FunctionName=f"{self.name}-{function}", Qualifier="live", Payload=event.encode())
        payload = json.loads(reply["Payload"].read())
        if "statusCode" not in payload:
            raise common.Failed(f"{function}: {json.dumps(payload)[:2000]}")
        return payload


def copied(answer, event):
    """The records that changes leave, read page by page as the event asks for them; `answer` gives a reply."""
    copy, cursor = {}, None
    for _ in range(1_000):
        query = {"kinds": KINDS_OF_CHANGES, "limit": "1000", **({"since": cursor} if cursor else {})}
        raw = "&".join(f"{name}={value}" for name, value in query.items())
        reply = answer({**event, "rawQueryString": raw, "queryStringParameters": query})
        if reply["statusCode"] != 200:
            raise common.Failed(f"{CHANGES}: {json.dumps(reply)[:2000]}")
        page = replies.body(reply)
        for change in page["changes"]:
            name = f"{change['kind']} {change.get('idField')} {change['id']}"
            copy.pop(name, None)
            if change["op"] == "upsert":
                # Of a product not its own id.
                copy[name] = replies.stripped(change["record"], f"{change['kind']}s")
        cursor = page["nextCursor"]
        if page["upToDate"]:
            return copy
    raise common.Failed(f"{CHANGES}: the changes do not end")
