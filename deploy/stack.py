"""Deploys template.yaml with what was built, keeps every release by its commit, and rolls back to one.

`make deploy`, `make releases`, `make rollback` and `make smoke` call it, with the Python of the SAM CLI's folder
in .tools. Region and credentials come from the shell, and parameters of the template from the variable PARAMETERS."""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
import tomllib

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAM = pathlib.Path(sys.executable).parent / "sam"
CATALOG = ROOT / "target" / "release" / "catalog"

# What a new version of a function does not depend on.
NOT_OF_FUNCTIONS = {
    "AlarmTopicArn", "CertificateArn", "CorsOrigins", "DeletionProtection", "DomainName", "LatencyAlarmMilliseconds",
    "LogRetentionDays", "ThrottlingBurst", "ThrottlingRate", "UpsertThrottlingBurst", "UpsertThrottlingRate",
}
# With the longest name of a function, and a hyphen, it must fit into Lambda's 64 characters.
LONGEST_NAME = 40
# What nobody wants to lose to a replacement.
DATA = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"}
# Lambda leaves so many to the functions without a reservation.
LEAST_UNRESERVED = 100
# The template's default.
UPSERT_CONCURRENCY = 100


class Failed(Exception):
    """What went wrong, in words for who deploys."""


def main():
    options = arguments()
    if os.environ.get("AWS_REGION"):
        # boto3 and the SAM CLI know only the other name.
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    try:
        options.run(options)
    except Failed as failure:
        sys.exit(f"deploy: {failure}")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"deploy: AWS: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"deploy: `{' '.join(map(str, error.cmd[:3]))} …` failed (exit code {error.returncode})")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name, run, summary):
        added = commands.add_parser(name, help=summary, description=summary)
        added.add_argument("--stack", help="the stack's name (otherwise that of --config-env)")
        added.add_argument("--config-env", help="an environment of samconfig.toml: dev, prod")
        added.set_defaults(run=run)
        return added

    deploying = command("deploy", deploy, "deploy what was built")
    deploying.add_argument("--architecture", default="x86_64", choices=["x86_64", "arm64"])
    deploying.add_argument("--release", help="what it is kept as (otherwise the commit)")
    deploying.add_argument("--template", type=pathlib.Path, default=ROOT / "template.yaml")
    for added in (deploying, command("rollback", rollback, "deploy an earlier release again")):
        added.add_argument(
            "--allow-replacement", action="store_true", help="even if a table, the bucket or the secret is replaced"
        )
        if added is not deploying:
            added.add_argument("--commit", required=True, help="a commit of `releases`, or its beginning")
    command("releases", releases, "list the releases that are kept, the latest first")
    command("smoke", smoke, "try the stack out: `catalog smoke` with what its outputs say")
    return parser.parse_args()


class Settings:
    """What samconfig.toml says of an environment, under what the command line says."""

    def __init__(self, options):
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        name = options.config_env
        if name and name not in config:
            raise Failed(f"samconfig.toml has no environment {name}")
        section = config.get(name or "default", {})
        settings = {**section.get("global", {}).get("parameters", {}), **section.get("deploy", {}).get("parameters", {})}
        self.stack = options.stack or settings.get("stack_name")
        if not self.stack:
            raise Failed("which stack? Give STACK=<name>, or CONFIG=<environment of samconfig.toml>")
        if len(self.stack) > LONGEST_NAME:
            raise Failed(f"a stack's name has at most {LONGEST_NAME} characters: functions are named after it")
        self.parameters = dict(pair.split("=", 1) for pair in settings.get("parameter_overrides", []))
        self.named = {}
        # As the shell has it: `Name=value Other="two words"`.
        for pair in shlex.split(os.environ.get("PARAMETERS", "")):
            if "=" not in pair or pair.endswith("\\"):
                raise Failed(f"a parameter is NAME=VALUE, not {pair}")
            self.named.update([pair.split("=", 1)])
        self.parameters.update(self.named)
        # Without an environment the stack keeps the tags that it has.
        self.tags = settings.get("tags")
        # Asked for by an environment, where there is somebody to answer.
        self.confirm = bool(name) and settings.get("confirm_changeset", False) and sys.stdin.isatty()


def deploy(options):
    settings = Settings(options)
    if "Architecture" in settings.parameters and settings.parameters["Architecture"] != options.architecture:
        print(f"Architecture is {options.architecture}, as it was built.")
    settings.parameters["Architecture"] = options.architecture
    existing = stack_of(settings.stack, clean_up=True)
    reserve(settings, existing)
    protect(settings, existing)
    commit = options.release or current_commit()
    folder = ROOT / "target" / "lambda" / options.architecture
    # After a failed update the same release must be published anew.
    failed = existing is not None and existing["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    salt = str(existing.get("LastUpdatedTime")) if failed else ""
    template = release_template(options.template, folder, settings.parameters, salt)
    packaged = folder / "packaged.yaml"
    sam("package", "--template-file", template, "--output-template-file", packaged,
        "--resolve-s3", "--s3-prefix", settings.stack)
    bucket = re.search(r"(?m)CodeUri: s3://([^/]+)/", packaged.read_text())
    if bucket is None:
        raise Failed(f"{packaged} names no bucket")
    roll_out(settings, packaged, bucket[1], existing, options.allow_replacement)
    keep(settings.stack, commit, options.architecture, packaged, bucket[1])
    print(f"\n{settings.stack} runs {commit}. Next: make smoke STACK={settings.stack}")


def rollback(options):
    settings = Settings(options)
    existing = stack_of(settings.stack)
    if existing is None:
        raise Failed(f"there is no stack {settings.stack}")
    everything = kept(settings.stack)
    found = [release for release in everything if release["commit"] == options.commit]
    found = found or [release for release in everything if release["commit"].startswith(options.commit)]
    if not found:
        raise Failed(f"no release {options.commit} is kept; see `make releases STACK={settings.stack}`")
    if len(found) > 1:
        raise Failed(f"several releases begin with {options.commit}: {', '.join(each['commit'] for each in found)}")
    release = found[0]
    # All else keeps its last value: only what is asked for here changes. At once: CodeDeploy stops a deployment while an
    # alarm of the version that runs is on, which is when one rolls back.
    settings.parameters = {"GradualDeployment": "false", **settings.named, "Architecture": release["architecture"]}
    if "GradualDeployment" not in settings.named:
        print("All requests go to it at once (GradualDeployment=false); the next deployment of an environment that shifts "
              "gradually does so again.")
    path = ROOT / "target" / "lambda" / "rollback.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    boto3.client("s3").download_file(release["bucket"], release["key"], str(path))
    # Published anew, with the settings of now: the same hashes would leave the alias where it is.
    again = re.compile(r"(?m)(?<=AutoPublishCodeSha256: )\S+$")
    renewed = again.sub(lambda digest: hashlib.sha256(f"{digest[0]} {time.time()}".encode()).hexdigest(), path.read_text())
    path.write_text(renewed)
    roll_out(settings, path, release["bucket"], existing, options.allow_replacement)
    print(f"\n{settings.stack} runs {release['commit']} again. Next: make smoke STACK={settings.stack}")


def releases(options):
    found = kept(Settings(options).stack)
    for release in found:
        print(f"{release['commit']:<20} {release['time']}  {release['architecture']}")
    if not found:
        raise Failed("none is kept yet")


def smoke(options):
    stack = Settings(options).stack
    existing = stack_of(stack)
    if existing is None:
        raise Failed(f"there is no stack {stack}")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in existing.get("Outputs", [])}
    command = [CATALOG, "smoke", "--aws", "--table-prefix", stack]
    command += ["--url", outputs["ApiUrl"], "--bucket", outputs["CatalogBucketName"]]
    sys.exit(subprocess.run(list(map(str, command)), check=False).returncode)


def sam(*command):
    subprocess.run([str(part) for part in (SAM, *command)], check=True, cwd=ROOT)


def stack_of(name, clean_up=False):
    """The stack, ready to be updated; `None`: there is none. What a failed creation left can be removed."""
    client = boto3.client("cloudformation")
    try:
        stack = client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    status = stack["StackStatus"]
    if status in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE"):
        return None
    if status == "ROLLBACK_COMPLETE" and not clean_up:
        raise Failed("the first deployment of the stack failed; run `make deploy` again")
    if status == "ROLLBACK_COMPLETE":
        print(f"The first deployment of {name} failed. What is left of it is removed.")
        client.delete_stack(StackName=name)
        client.get_waiter("stack_delete_complete").wait(StackName=name)
        return None
    if status in ("ROLLBACK_FAILED", "DELETE_FAILED", "CREATE_FAILED", "UPDATE_ROLLBACK_FAILED"):
        raise Failed(f"the stack is {status}; docs/operations.md says what to do then (section 1, \"After a failure\")")
    if status.endswith("_IN_PROGRESS"):
        raise Failed(f"the stack is {status}: another deployment is under way")
    return stack


def reserve(settings, existing):
    """Without a reservation where the AWS account has too little concurrency for one: the deployment would fail."""
    if "UpsertConcurrency" in settings.parameters:
        return
    client = boto3.client("lambda")
    available = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    before = parameter_of(existing, "UpsertConcurrency")
    wanted = UPSERT_CONCURRENCY if before is None else int(before)
    if before == "0":
        if available - UPSERT_CONCURRENCY >= LEAST_UNRESERVED:
            print(f"Note: there is room for PARAMETERS=UpsertConcurrency={UPSERT_CONCURRENCY}, which protects the other functions.")
        return
    available += int(before or 0)
    if available - wanted < LEAST_UNRESERVED:
        print(
            f"UpsertConcurrency=0: of {available} concurrent executions that the AWS account has here, {wanted} cannot "
            "be reserved. Ask AWS for a higher quota (Service Quotas, Lambda, Concurrent executions)."
        )
        settings.parameters["UpsertConcurrency"] = "0"


def protect(settings, existing):
    """Protection that an interrupted first deployment left off comes on; only whoever names it keeps it off."""
    if "DeletionProtection" not in settings.parameters and parameter_of(existing, "DeletionProtection") == "false":
        print("The tables are not protected against deletion yet: now they are.")
        settings.parameters["DeletionProtection"] = "true"


def parameter_of(existing, name):
    """The value that a parameter of the stack has."""
    parameters = (existing or {}).get("Parameters", [])
    return next((each["ParameterValue"] for each in parameters if each["ParameterKey"] == name), None)


def current_commit():
    """The commit of what is deployed; changed files make it `…-dirty`."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unversioned"


def release_template(source, folder, parameters, salt=""):
    """The template beside the binaries, with their hashes: a function gets a new version when its binary, the
    template or a parameter changes. CloudFormation alone looks at neither binaries nor values of parameters."""
    text = source.read_text()
    values = {name: value for name, value in parameters.items() if name not in NOT_OF_FUNCTIONS}
    common = hashlib.sha256((text + json.dumps(values, sort_keys=True) + salt).encode())

    def code(match):
        binary = folder / match["function"] / "bootstrap"
        if not binary.exists():
            raise Failed(f"{binary} is missing; build it: make build ARCHITECTURE={folder.name}")
        digest = common.copy()
        digest.update(binary.read_bytes())
        indent = match["indent"]
        return f"{indent}CodeUri: {match['function']}/\n{indent}AutoPublishCodeSha256: {digest.hexdigest()}\n"

    text = re.sub(r"(?m)^(?P<indent> +)CodeUri: target/lambda/\w+/(?P<function>[a-z-]+)/\n", code, text)
    path = folder / "template.yaml"
    path.write_text(text)
    return path


def keep(stack, commit, architecture, packaged, bucket):
    """Keeps a packaged release that runs, beside its code."""
    boto3.client("s3").put_object(
        Bucket=bucket,
        Key=f"{stack}/releases/{commit}.yaml",
        Body=packaged.read_bytes(),
        Metadata={"architecture": architecture},
    )


def kept(stack):
    """The releases of a stack, the latest first."""
    client = boto3.client("s3")
    stacks = boto3.client("cloudformation").describe_stacks(StackName="aws-sam-cli-managed-default")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
    bucket, prefix = outputs["SourceBucket"], f"{stack}/releases/"
    found = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            head = client.head_object(Bucket=bucket, Key=entry["Key"])
            found.append({
                "commit": entry["Key"].removeprefix(prefix).removesuffix(".yaml"),
                "time": entry["LastModified"].isoformat(timespec="seconds"),
                "architecture": head["Metadata"].get("architecture", "x86_64"),
                "bucket": bucket,
                "key": entry["Key"],
            })
    return sorted(found, key=lambda release: release["time"], reverse=True)


def roll_out(settings, packaged, bucket, existing, allow_replacement):
    """Creates or updates the stack."""
    deploy_stack = ["deploy", "--template-file", packaged, "--stack-name", settings.stack]
    deploy_stack += ["--s3-bucket", bucket, "--s3-prefix", settings.stack, "--no-fail-on-empty-changeset"]
    deploy_stack += ["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--tags"]
    of_stack = [f"{tag['Key']}={tag['Value']}" for tag in (existing or {}).get("Tags", [])]
    deploy_stack += settings.tags or of_stack or ["application=serverless-catalog"]

    def overriding(parameters):
        # In quotes a value may be empty, or have spaces.
        quoted = {name: value.replace('"', '\\"') for name, value in parameters.items()}
        pairs = [f'{name}="{value}"' for name, value in sorted(quoted.items())]
        return ["--parameter-overrides", *pairs] if pairs else []

    confirm = "--confirm-changeset" if settings.confirm else "--no-confirm-changeset"
    if existing is None:
        # A creation that fails takes its tables back only while they are not protected.
        print(f"Creating {settings.stack}, at first without protection of its tables.")
        unprotected = {**settings.parameters, "DeletionProtection": "false"}
        sam(*deploy_stack, *overriding(unprotected), confirm)
        was_deployed(settings.stack)
        if settings.parameters.get("DeletionProtection", "true") == "false":
            return
        settings.parameters["DeletionProtection"] = "true"
        print("It is there. Now its tables are protected against deletion.")
        confirm = "--no-confirm-changeset"
    elif not allow_replacement:
        refuse_replacements(settings, [*deploy_stack, *overriding(settings.parameters)])
    before = (existing or {}).get("LastUpdatedTime")
    sam(*deploy_stack, *overriding(settings.parameters), confirm)
    was_deployed(settings.stack, before if settings.confirm else None)


def was_deployed(stack, before=None):
    """Fails if whoever was asked said no: the SAM CLI calls that a success."""
    after = stack_of(stack)
    if after is None or before is not None and after.get("LastUpdatedTime") == before:
        raise Failed("nothing was deployed")


def refuse_replacements(settings, deploy_stack):
    """Looks at the changes before they are made: a table that is replaced is a new, empty one."""
    client = boto3.client("cloudformation")
    started = time.time()
    sam(*deploy_stack, "--no-execute-changeset")
    summaries = client.list_change_sets(StackName=settings.stack)["Summaries"]
    fresh = [summary for summary in summaries if summary["CreationTime"].timestamp() >= started - 60]
    if not fresh:
        return
    latest = max(fresh, key=lambda summary: summary["CreationTime"])
    pages = client.get_paginator("describe_change_set").paginate(ChangeSetName=latest["ChangeSetId"])
    changes = [change["ResourceChange"] for page in pages for change in page.get("Changes", [])]
    client.delete_change_set(ChangeSetName=latest["ChangeSetId"])
    of_data = [change for change in changes if change["ResourceType"] in DATA]
    # Conditional says that a value is not known yet. Tables and the bucket have names of their own, and CloudFormation
    # refuses to replace what has one.
    for change in of_data:
        if change.get("Replacement") == "Conditional":
            print(f"Note: {change['LogicalResourceId']} is changed in a way that CloudFormation decides on the way.")
    lost = [
        change["LogicalResourceId"]
        for change in of_data
        if change["Action"] == "Remove" or change.get("Replacement") == "True"
    ]
    for change in of_data:
        targets = [detail["Target"].get("Name") for detail in change.get("Details", [])]
        if "GlobalSecondaryIndexes" in targets:
            print(f"Note: indexes of {change['LogicalResourceId']} change; DynamoDB makes or deletes one an update.")
    if lost:
        raise Failed(
            f"this would replace or remove what holds data: {', '.join(lost)}. Nothing was changed. docs/operations.md "
            "says how an index or a key is changed; --allow-replacement does it all the same"
        )


if __name__ == "__main__":
    main()
