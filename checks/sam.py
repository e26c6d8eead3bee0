"""SAM's local Lambda: the built functions in Lambda's own image, before a catalog on this machine.

`make sam-invoke`, `make sam-api` and `make test-sam` call it. It finds the address by which containers reach this
machine, starts a catalog there where none runs, and tells the functions of it."""

import argparse
import contextlib
import ipaddress
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import docker  # beside the SAM CLI

import common
import replies

sys.path.append(str(common.ROOT / "deploy"))
from stack import release_template  # noqa: E402

SAM = pathlib.Path(sys.executable).parent / "sam"
HOST = "host.docker.internal"
PROJECT = common.ROOT / ".catalog"
REGION = "us-east-1"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default=common.ARCHITECTURE)
    commands = parser.add_subparsers(required=True)
    invoking = commands.add_parser("invoke", help="one event")
    invoking.add_argument("--function", required=True, help="its logical id, or the name of its binary")
    invoking.add_argument("--event", required=True, type=pathlib.Path)
    invoking.set_defaults(run=invoke)
    api = commands.add_parser("api", help="the HTTP API")
    api.add_argument("--port", default="3001")
    api.set_defaults(run=start_api)
    commands.add_parser("test", help="every event, compared with `catalog serve`").set_defaults(run=test)
    options = parser.parse_args()
    common.main(lambda: options.run(options))


class Containers:
    """The container engine, and how its containers reach this machine."""

    def __init__(self, architecture):
        try:
            self.client = docker.from_env()
            info = self.client.info()
        except docker.errors.DockerException as error:
            raise common.Failed(
                "no container engine answers: start Docker Desktop, Docker, Finch or Colima, or set DOCKER_HOST "
                f"({error})"
            ) from None
        self.is_desktop = platform.system() != "Linux" or "Docker Desktop" in info.get("OperatingSystem", "")
        name = "x86_64" if architecture == "x86_64" else "arm64"
        image = f"public.ecr.aws/lambda/provided:al2023-{name}"
        # Without an image SAM gets it from the registry.
        self.has_image = any(image in each.tags for each in self.client.images.list())

    def address(self):
        """The address of this machine that containers reach, to listen on; on a desktop engine, which runs them in a
        machine of its own, any that this one listens on."""
        if self.is_desktop:
            return "127.0.0.1"
        network = self.client.networks.get("bridge").attrs
        # Older engines do not tell the gateway of their default bridge: it is the first address.
        gateways = [
            config.get("Gateway") or str(ipaddress.ip_network(config["Subnet"])[1])
            for config in network["IPAM"]["Config"] or []
        ]
        for gateway in gateways:
            with contextlib.suppress(OSError), socket.socket() as listener:
                listener.bind((gateway, 0))
                return gateway
        raise common.Failed(
            f"containers reach this machine at {gateways or 'no address'}, where it cannot listen (a rootless "
            "engine?): start the catalog with `make run SERVE=\"--sample --listen 0.0.0.0\"`"
        )


def running():
    """The variables of the catalog that runs in this project, if one does."""
    with contextlib.suppress(OSError):
        return json.loads((PROJECT / "env.json").read_text())
    return None


@contextlib.contextmanager
def catalog(containers, folder, data):
    """Starts a catalog that containers reach; its URL, and its variables."""
    ready = pathlib.Path(folder) / "ready.json"
    command = [common.CATALOG, "serve", "--sample", "--listen", containers.address(), "--port", "0"]
    with common.Processes(folder) as processes:
        processes.start("containers", [*command, "--ready-file", ready, "--data", data])
        url = common.wait_for("the catalog", lambda: json.loads(ready.read_text()))["url"]
        yield url, json.loads((data / "env.json").read_text())


@contextlib.contextmanager
def environment(options, containers, folder):
    """What `sam local` needs of a catalog: the one that runs here, or a new one over the same data."""
    variables = running()
    if variables is None:
        common.need(common.CATALOG, "build it: cargo build --locked -p catalog-cli")
        print("No catalog runs here: one is started, with the sample data.", file=sys.stderr)
        with catalog(containers, folder, PROJECT) as (_, variables):
            yield arguments(options, containers, folder, variables)
    elif HOST in variables["Parameters"]["AWS_ENDPOINT_URL_DYNAMODB"] and not containers.is_desktop:
        raise common.Failed(
            "the catalog that runs here listens where no container reaches it: stop it, or start it with "
            f"`make run SERVE=\"--sample --listen {containers.address()}\"`"
        )
    else:
        yield arguments(options, containers, folder, variables)


def arguments(options, containers, folder, variables):
    path = pathlib.Path(folder) / "env.json"
    path.write_text(json.dumps(variables))
    built = common.lambdas(options.architecture)
    common.need(built, f"build the functions: make build ARCHITECTURE={options.architecture}")
    template = release_template(common.ROOT / "template.yaml", built, {})
    command = ["--template-file", template, "--env-vars", path, "--region", REGION]
    command += ["--parameter-overrides", f"Architecture={options.architecture}"]
    return command + (["--skip-pull-image"] if containers.has_image else [])


def sam(*command, **how):
    # What the embedded bucket accepts; the database verifies nothing.
    local = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "SAM_CLI_TELEMETRY": "0"}
    command = [str(part) for part in (SAM, "local", *command)]
    return subprocess.run(command, env={**os.environ, **local}, check=False, **how)


def logical_id(function):
    """`list-offerings` is `ListOfferingsFunction`."""
    if function.endswith("Function"):
        return function
    return "".join(part.capitalize() for part in function.split("-")) + "Function"


def invoke(options):
    containers = Containers(options.architecture)
    with tempfile.TemporaryDirectory() as folder, environment(options, containers, folder) as how:
        common.need(options.event, "the events are in events/")
        sys.exit(sam("invoke", logical_id(options.function), "--event", options.event, *how).returncode)


def start_api(options):
    containers = Containers(options.architecture)
    with tempfile.TemporaryDirectory() as folder, environment(options, containers, folder) as how:
        with contextlib.suppress(KeyboardInterrupt):
            sam("start-api", "--port", options.port, "--warm-containers", "LAZY", *how)


def test(options):
    """Every event in a container of its own; the reply is that of a second catalog with the same data."""
    containers = Containers(options.architecture)
    common.need(common.CATALOG, "build it: cargo build --locked -p catalog-cli")
    expected = json.loads((common.ROOT / "checks" / "events.json").read_text())
    began, seconds = time.monotonic(), []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, variables = stack.enter_context(catalog(containers, folder, folder / "containers"))
        beside = folder / "beside"
        beside.mkdir()
        here = common.serve(stack.enter_context(common.Processes(beside)), beside)["url"]
        how = arguments(options, containers, folder, variables)
        # Imports last: they change what is listed.
        for name in [*sorted(expected["status"]), *sorted(expected["returned"])]:
            if name in expected["returned"]:
                drop_file(folder / "containers")
            started = time.monotonic()
            function = logical_id(name.split(".")[0])
            event = common.EVENTS / name
            result = sam("invoke", function, "--event", event, *how, capture_output=True, text=True)
            seconds.append(time.monotonic() - started)
            reply = reply_of(name, result)
            if name in expected["status"]:
                told, right = reply["statusCode"], expected["status"][name]
            else:
                told, right = len(reply["batchItemFailures"]), expected["returned"][name]
            if told != right:
                raise common.Failed(f"{name}: {right} expected: {json.dumps(reply)[:2000]}\n{result.stderr[-2000:]}")
            if name in expected["status"]:
                replies.same(name, reply, replies.ask(here, json.loads(event.read_text())))
            print(f"{'same' if name in expected['status'] else 'ok':<5} {told:>3}  {seconds[-1]:4.1f} s  {name}", flush=True)
    seconds.sort()
    print(
        f"{len(seconds)} events in containers of Lambda's image, answered as by `catalog serve`: "
        f"{time.monotonic() - began:.0f} s, {seconds[len(seconds) // 2]:.1f} s an event (median)."
    )


def drop_file(data):
    """The file that events of the bucket tell of."""
    imports = data / "objects" / "catalog" / "imports" / "ACME"
    imports.mkdir(parents=True, exist_ok=True)
    shutil.copy(common.ROOT / "data" / "sample" / "products.csv", imports / "sample products.csv")


def reply_of(name, result):
    """The last line of the output: the function's reply."""
    for line in reversed(result.stdout.splitlines()):
        with contextlib.suppress(ValueError):
            reply = json.loads(line)
            if "statusCode" in reply or "batchItemFailures" in reply:
                return reply
    raise common.Failed(f"{name}: no reply\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}")


if __name__ == "__main__":
    main()
