"""Replies of functions beside those of `catalog serve`: a request of an event, and what two replies must share."""

import base64
import gzip
import json

import common


def ask(here, event):
    """The same request over HTTP."""
    body = event.get("body")
    if body is not None:
        body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    query = event.get("rawQueryString") or ""
    url = f"{here}{event['rawPath']}{'?' if query else ''}{query}"
    keep = ("x-api-key", "authorization", "content-type", "accept-encoding")
    headers = {name: value for name, value in event["headers"].items() if name.lower() in keep}
    method = event["requestContext"]["http"]["method"]
    status, headers, content = common.http(method, url, body, headers)
    if headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    return {"statusCode": status, "body": content.decode()}


def comparable(reply):
    """Without what differs from catalog to catalog: ids and times of creation, cursors, request ids."""
    return reply["statusCode"], stripped(body(reply))


def body(reply):
    """The JSON of a reply."""
    text = reply["body"] or ""
    if reply.get("isBase64Encoded"):
        content = base64.b64decode(text)
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    return json.loads(text) if text else None


def stripped(value, inside=""):
    if isinstance(value, list):
        values = [stripped(one, inside) for one in value]
        # Products made in one import are as new as each other.
        return sorted(values, key=json.dumps) if inside == "products" else values
    if isinstance(value, dict):
        own = {"createdAt", "updatedAt", "meta", "nextCursor"}
        if inside in ("products", "results"):
            own.add("id")
        return {name: stripped(one, name) for name, one in value.items() if name not in own}
    return value


def same(event_name, theirs, ours):
    """Fails unless both replies say the same."""
    theirs, ours = comparable(theirs), comparable(ours)
    if theirs != ours:
        raise common.Failed(
            f"{event_name}: answered differently\n{json.dumps(theirs)[:1500]}\n{json.dumps(ours)[:1500]}"
        )
